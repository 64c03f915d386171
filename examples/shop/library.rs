//! The shop through the library: what `compose.yaml` says, built, planned, started and asked.
//!
//! ```text
//! cargo xtask images
//! cargo run --package unmoor-examples --example library -- local: up
//! cargo run --package unmoor-examples --example library -- local: down
//! ```

use std::path::Path;
use std::time::Duration;

use unmoor::backend::ImageInput;
use unmoor::client::{DownOptions, UpOptions};
use unmoor::discover::Scope;
use unmoor::name::{StackName, VolumeName};
use unmoor::spec::{
    Condition, Dependency, Health, HealthTest, Mount, Published, Service, Stack, Volume,
};
use unmoor::{Client, Error, ErrorKind, Result};

/// Longest wait until everything serves.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [uri, "up"] => up(&unmoor::connect(uri).await?, Path::new("target/images")).await,
        [uri, "up", images] => up(&unmoor::connect(uri).await?, Path::new(images)).await,
        [uri, "down"] => down(&unmoor::connect(uri).await?).await,
        _ => Err(Error::new(
            ErrorKind::InvalidSpec,
            "usage: library URI up [DIRECTORY OF IMAGES], library URI down",
        )),
    }
}

/// A service of the shop: its image, and a health check by the program itself.
fn service(name: &str, port: u16) -> Result<Service> {
    let url = format!("http://127.0.0.1:{port}/healthz");
    let ask = HealthTest::Exec(["/app", "probe", &url].map(str::to_owned).to_vec());
    // While it starts, it is asked more often: what waits for it goes on sooner.
    let health = Health::new(ask)
        .interval(Duration::from_secs(2))
        .start(Duration::from_secs(30), Duration::from_millis(200));
    let service = Service {
        init: true,
        ..Service::new(format!("shop/{name}:1").parse()?)
    };
    Ok(service.health(health))
}

/// web → api ×2 → store with a volume.
fn shop() -> Result<Stack> {
    let healthy = || Dependency {
        condition: Condition::Healthy,
        ..Dependency::default()
    };
    let numbers = VolumeName::parse("numbers")?;
    let store = service("store", 7000)?.mount(Mount::volume(numbers.clone(), "/data"));
    let api = service("api", 7001)?.replicas(2);
    let web = service("web", 8080)?.publish(Published::tcp(8080, 8080));
    Ok(Stack::new(StackName::parse("shop")?)
        .volume(numbers, Volume::default())
        .service("store".parse()?, store)
        .service("api".parse()?, api.after("store".parse()?, healthy()))
        .service("web".parse()?, web.after("api".parse()?, healthy())))
}

async fn up(client: &Client, images: &Path) -> Result<()> {
    let stack = shop()?;
    for service in stack.services.keys() {
        load_image(client, images, service.as_str()).await?;
    }
    let options = UpOptions::new().wait(PATIENCE);
    let planned = client.plan(&stack, &options).await?;
    println!("{}", planned.plan);
    let report = client.apply(&planned, &options).await?;
    println!("{} changes", report.changed);

    let shop = client.in_stack(stack.name.clone());
    let web = shop.service("web")?;
    for endpoint in web.endpoints().await? {
        if endpoint.scope == Scope::External {
            println!("published: {} {:?}", endpoint.address, endpoint.port);
        }
    }
    println!("{}", page().await?);
    let api = shop.service("api")?;
    api.scale(3).await?;
    api.wait_ready(PATIENCE).await?;
    for replica in api.replicas().await? {
        println!("{} is {}", replica.id, replica.phase.as_str());
    }
    Ok(())
}

async fn down(client: &Client) -> Result<()> {
    let stack = shop()?;
    let options = DownOptions::new().volumes(true);
    let report = client.down(&stack.name, &options).await?;
    println!("{} changes", report.changed);
    Ok(())
}

/// Takes the image that `cargo xtask images` packed; the same again changes nothing.
async fn load_image(client: &Client, packed: &Path, service: &str) -> Result<()> {
    let input = ImageInput::Rootfs {
        path: packed.join(format!("{service}.tar")),
        reference: format!("shop/{service}:1").parse()?,
        changes: vec![r#"ENTRYPOINT ["/app"]"#.to_owned()],
    };
    client.images()?.load(&input, true).await?;
    Ok(())
}

/// The page, as a visitor sees it.
async fn page() -> Result<String> {
    let ask = || shop::client::ask("127.0.0.1:8080", "GET", "/", "");
    let page = tokio::task::spawn_blocking(ask).await;
    let page = page.map_err(|error| failed("ask for the page").because(error))?;
    page.map_err(|error| failed("ask for the page").because(error))
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}
