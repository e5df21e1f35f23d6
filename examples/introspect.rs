//! Prints a database as KDL: `cargo run --example introspect -- postgresql://…`.
#![allow(clippy::print_stdout, missing_docs, reason = "an example program")]

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: introspect URL")?;
    let session = schema::pg::connect(&schema::pg::Target::parse(&url)?).await?;
    let live = schema::pg::introspect::introspect(&session, schema::pg::introspect::Managed::default()).await?;
    for name in &live.catalog.unmodelled {
        println!("// not modelled: {name}");
    }
    print!("{}", schema::source::document(&live.catalog));
    Ok(())
}
