//! What `schema explain` tells besides hazards: how apply waits, holds and looks, with the numbers that hold unless
//! schema.kdl says otherwise.

use crate::apply::{Options, Pace};
use crate::config::duration;
use crate::plan::render::bytes;

/// The topics: name, one line.
pub const TOPICS: [(&str, &str); 7] = [
    ("preflight", "rows that would make a step fail are looked for first"),
    ("backfill", "batches, pauses, and what makes them hold"),
    ("locking", "how a step gets its locks without a queue behind it"),
    ("gate", "what must be seen before contract"),
    ("enum", "how an enum loses values, or has them in another order"),
    ("replace-columns", "columns that are split, merged or computed anew"),
    ("split-table", "columns that move into a new table"),
];

/// The text of a topic, a paragraph each.
#[must_use]
pub fn topic(name: &str) -> Option<Vec<String>> {
    let Options { lock_timeout, retry_for, outside_deadline, batch_target, batch_rows, pace, .. } = Options::default();
    let Pace { pause, burst, replay_lag, replay_wal, slot_wal, archive_wal, dead_rows } = pace;
    let time = |value: Option<std::time::Duration>| value.map_or_else(|| "off".to_owned(), duration::format);
    let size = |value: Option<u64>| value.map_or_else(|| "off".to_owned(), bytes);
    let paragraphs = match name {
        "preflight" => vec![
            "Before the first step of a stage `apply` counts the rows that would make a later step, up to the next barrier, fail: NULLs, duplicates, rows \
             without the row that they reference, rows that break a check or overlap, values that a new type refuses or would cut. It reads beside the \
             traffic, takes no lock that others feel, and stops with exit code 3 and nothing done when it finds one; the queries stand in the plan."
                .to_owned(),
            "What a backfill makes is looked at when that is done. Unique indexes over expressions and exclusion constraints are looked at up to a million \
             rows, because that takes a copy. `apply --no-preflight` leaves it out."
                .to_owned(),
        ],
        "backfill" => vec![
            format!(
                "Rows are filled in batches, each a short transaction with its place in the ledger: {batch_rows} rows at first, then as many as take {}. \
                 Within a batch it works for about {} at a stretch (burst), and pauses {pause} times as long, a millisecond at least, so that other sessions \
                 find a processor and a disk. A batch behind which a session waits ends, the next one is half as large and the pause as long as the batch at least. `pause=0` goes \
                 as fast as the server does; `burst=off` pauses only between batches.",
                duration::format(batch_target),
                time(burst)
            ),
            format!(
                "It holds while a replica replays more than {} (replay-lag) or {} (replay-wal) behind, a slot keeps more than {} of WAL (slot-wal), archiving \
                 fails or is more than {} behind (archive-wal), or the table has more dead rows than {} of its rows and than a million (dead-rows). A signal \
                 that cannot be read counts as bad. Change them in schema.kdl, for all or in an environment: \
                 `backfill batch=\"500ms\" rows=500 burst=\"500us\" pause=2 replay-lag=\"10s\" replay-wal=off`.",
                time(replay_lag),
                size(replay_wal),
                size(slot_wal),
                size(archive_wal),
                dead_rows.map_or_else(|| "off".to_owned(), |share| share.to_string())
            ),
            "From another terminal: `schema backfill pause`, `resume` and `stop`; it looks between two batches. What is paused stays so until it is resumed, \
             also when apply is started anew; what is stopped ends apply with exit code 5 and goes on with the next one."
                .to_owned(),
        ],
        "locking" => vec![
            format!(
                "A step tries its locks with a lock_timeout of {} at first, half as long again each time and 2s at most, sleeping half a second to 30 s \
                 between, for {} at most. While a transaction has held the table for more than five seconds, a prepared one holds it, or a vacuum that \
                 prevents wraparound works on it, no try is made: whoever it is, is named.",
                duration::format(lock_timeout),
                duration::format(retry_for)
            ),
            format!(
                "CONCURRENTLY runs without a lock_timeout, for {} at most. Change it in schema.kdl: `lock-timeout \"2s\" retry-for=\"15m\" concurrently=\"24h\"`.",
                duration::format(outside_deadline)
            ),
        ],
        "gate" => vec![
            "Contract takes away what clients of the old release use, so it begins only on evidence: `gate clients=\"app/1.*\" user=\"app\" idle=\"24h\" \
             statements=#true`, in an environment of schema.kdl, or at its top for every plan that is made. No session that matches is connected, none was \
             seen for that long, and with `statements` pg_stat_statements counted none that names what goes away. Every `apply`, `status` and `wait --for gate` \
             looks and records what it saw; the first look after the switch starts the clock. What came and went between two looks was not seen: look often."
                .to_owned(),
            "`status` tells what it waits for. A person who knows better says --confirm old-clients-gone.".to_owned(),
        ],
        "enum" => vec![
            "PostgreSQL adds values to an enum and renames them, no more. Where one goes, or the order is another, a second type stands beside it, and every \
             column of it (arrays too, of all tables) gets one of the second type beside it, filled and indexed beside the traffic. At the switch, in one short \
             transaction that locks all of these tables, types and columns change names; defaults, views, policies, functions and casts that use the type are \
             made again, functions that only mention it are put once more, because sessions know the old type by its number. The old type goes in contract. \
             Until then a trigger keeps the old columns in step, where every value of the new type is one of the old one: so long the switch can be undone."
                .to_owned(),
            "Rows that hold a value which goes are found before anything is done. `backfill happy with=ok` at the enum says what they get, or `backfill` at a \
             column an expression over its row. Old clients can write a value that has another one until the switch, one that has none only until the first \
             step. Rows that nobody wrote since have their own value again after a rollback."
                .to_owned(),
            "Where only small tables use it, or no column does, it is made again in one transaction. So it is, as hazard `blocking`, and the plan says why, \
             where a large table is partitioned, a column is computed from it, an index or a default calls a function that takes or gives it, or a domain, \
             composite type, range type, exclusion constraint or publication uses it. A column that divides a table cannot change at all."
                .to_owned(),
        ],
        "replace-columns" => vec![
            "New columns whose `backfill` names columns that the source leaves out take their place: a split, a merge, a column computed anew. \
             `revert \"…\" of=old_column` at one of the new columns says how an old one is computed from them."
                .to_owned(),
            "Expand adds the new columns and a trigger, in one transaction under one ACCESS EXCLUSIVE lock, an instant. On an INSERT that gives any \
             new column, and on an UPDATE that changes one, the old ones are computed by `revert`; else, where an old one changes, the new ones by \
             `backfill`. The trigger comes before the table's own ones; where one of these changes what the client wrote, a second trigger behind them \
             computes the other side again. What a client wrote is never computed from the other side. The backfill fills the new columns and nothing \
             else. Defaults of the new columns are the trigger's until contract, which drops triggers and old columns at once."
                .to_owned(),
            "An expression that fails refuses the client's statement, so rows that are there are tried first: each must get its new values, and give its old \
             ones back. Named as `breaking`: an old column without a `revert`, which is loosened to be NULL where new clients could not insert; a NULL in a new \
             column for which the `revert` of a NOT NULL column gives NULL; a NULL in place of which a default is taken; a trigger function that sees to the \
             new columns from the switch on, and no longer to the old ones. Columns that are generated, identities, in a partition key or of a NOT NULL domain \
             cannot be kept in step: they are added and dropped each for itself, which is named too."
                .to_owned(),
        ],
        "split-table" => vec![
            "Columns of a new table that say `was=\"table.column\"` get the values of those, which the source leaves out of the old table. The new table's \
             primary key is a foreign key to the old one's: one row for one row."
                .to_owned(),
            "Expand makes the new table, whole and empty, and then a trigger on each of the two, in one transaction under SHARE ROW EXCLUSIVE on the old one, an \
             instant. What an old client writes into the columns comes into the new table, where it makes a row when any of them holds something; what a new \
             client writes there comes into the old columns, which become NULL where it deletes the row. Old columns that are NOT NULL are loosened, so that new \
             clients can insert without them. The copy goes in batches along the old table's key, locks the rows that it reads (FOR SHARE) and leaves \
             alone what a trigger put there before; then both sides are compared. Contract drops triggers and old columns at once."
                .to_owned(),
            "Named as `breaking`: an old and a new client that write the same row at once take their locks in another order, and one may be refused by a \
             deadlock; TRUNCATE of one table does not reach the other; where the foreign key does not cascade, old clients cannot delete rows; what a \
             constraint of the new table refuses, it refuses to old clients too."
                .to_owned(),
        ],
        _ => return None,
    };
    Some(paragraphs)
}
