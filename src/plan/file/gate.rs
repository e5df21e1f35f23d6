//! The `gate` node, in plans and in schema.kdl: `gate clients="app/1.*" idle="24h"`.

use crate::config::duration;
use crate::kdl::{Finding, Findings, Node, NodeOut};
use crate::plan::plan::Gate;

/// Reads a gate.
pub fn read_gate(mut node: Node<'_>, f: &mut Findings) -> Option<Gate> {
    let before = f.len();
    let clients = node.value("clients", f).map(|text| text.value);
    let user = node.value("user", f).map(|text| text.value);
    let statements = node.property_flag("statements", f);
    let by_session = clients.is_some() || user.is_some();
    let idle = node.value("idle", f).and_then(|text| {
        duration::parse(&text.value)
            .map_err(|_| {
                f.push(Finding::at(text.span, format!("`{}` is no duration", text.value)).help(format!("write {}", duration::FORM)));
            })
            .ok()
    });
    if idle.is_none() && f.len() == before {
        f.push(Finding::at(node.span(), "`gate` tells which clients must be gone, and for how long").help("add idle=\"24h\""));
    }
    if !by_session && !statements {
        f.push(
            Finding::at(node.span(), "`gate` tells which clients must be gone, and for how long")
                .help("add clients=\"app/1.*\", user=\"app\" or statements=#true"),
        );
    }
    node.finish(f);
    (f.len() == before).then(|| Gate { clients, user, idle: idle.unwrap_or_default(), statements })
}

/// The inverse of [`read_gate`].
#[must_use]
pub fn gate_node(gate: &Gate) -> NodeOut {
    let Gate { clients, user, idle, statements } = gate;
    let mut node = NodeOut::new("gate").opt_prop("clients", clients.as_deref()).opt_prop("user", user.as_deref());
    node = node.prop("idle", duration::format(*idle));
    if *statements {
        node = node.prop("statements", true);
    }
    node
}
