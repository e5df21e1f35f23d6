//! Starts a private throwaway PostgreSQL, says how to connect to it, and stops it on Ctrl-C or when its input
//! ends.
//!
//! ```text
//! cargo run --example scratch_server            # the newest installed version
//! cargo run --example scratch_server -- 15      # that version
//! ```

#![allow(clippy::print_stdout)]

use std::error::Error;

use schema::pg::{Scratch, ScratchOptions, find};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let major = std::env::args().nth(1).map(|text| text.parse()).transpose()?;
    let installation = find(major)?;
    let begun = std::time::Instant::now();
    let scratch = Scratch::start(&installation, ScratchOptions::default()).await?;
    println!("PostgreSQL {} in {} ms", installation.version, begun.elapsed().as_millis());
    println!("folder {}", scratch.socket_dir().display());
    println!("process {}", scratch.pid());
    println!("{}", scratch.command_env_line("postgres"));
    // Reading cannot be interrupted, so it has a thread of its own that nobody waits for.
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(std::io::copy(&mut std::io::stdin(), &mut std::io::sink())));
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = ended => {}
    }
    scratch.stop().await?;
    Ok(())
}
