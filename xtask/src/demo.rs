//! The first command of the README: the example stack in real containers, and back.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::images::{self, Image};
use crate::process::{built, cargo, root, run};
use crate::{Failure, Outcome, pages};

const FILE: &str = "examples/shop/compose.yaml";
const PORT: u16 = 8080;

/// Builds, packs, imports, starts, and asks the published port for its page.
pub(crate) fn up() -> Outcome {
    let images = prepare()?;
    for image in &images {
        import(image)?;
    }
    run(unmoor().args(["up", "-d", "--wait"]))?;
    show_page()?;
    let unmoor = built("unmoor");
    let unmoor = unmoor.strip_prefix(root()).unwrap_or(&unmoor).display();
    println!();
    println!("It is running. Go on with:");
    println!("  curl http://127.0.0.1:{PORT}/");
    println!("  {unmoor} -f {FILE} ps");
    println!("  {unmoor} -f {FILE} logs web");
    println!("  {unmoor} -f {FILE} scale api=3");
    println!("  cargo xtask demo --down      (and `{unmoor} -f {FILE} down -v` for the data too)");
    Ok(())
}

/// Builds the command line and the example's images.
pub(crate) fn prepare() -> Result<Vec<Image>, Failure> {
    run(&mut cargo(&[
        "build",
        "--package",
        "unmoor-cli",
        "--locked",
    ]))?;
    images::build_all()
}

pub(crate) fn import(image: &Image) -> Outcome {
    let mut command = Command::new(built("unmoor"));
    command.args(["image", "import", "--change", r#"ENTRYPOINT ["/app"]"#]);
    run(command
        .arg(&image.archive)
        .arg(&image.name)
        .current_dir(root()))
}

/// Stops the stack; its data stays.
pub(crate) fn down() -> Outcome {
    run(&mut cargo(&[
        "build",
        "--package",
        "unmoor-cli",
        "--locked",
    ]))?;
    run(unmoor().arg("down"))
}

fn unmoor() -> Command {
    let mut command = Command::new(built("unmoor"));
    command.args(["-f", FILE]).current_dir(root());
    command
}

fn show_page() -> Outcome {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    eprintln!("+ GET http://{address}/");
    let page = pages::get(address, "/")
        .map_err(|error| Failure::new(format!("no page from http://{address}/: {error}")))?;
    println!("{}", pages::text(&page));
    Ok(())
}
