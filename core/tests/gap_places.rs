//! A gap tells where in the file the field stands that cannot be had.

use unmoor_core::backend::{Actor, Capabilities, Feature, Support};
use unmoor_core::compose::{Environment, LoadOptions, Source, load};
use unmoor_core::plan::{PlanOptions, check};

const FILE: &str = "services:
  web:
    image: app:1
    ports:
      - \"80:80\"
    deploy:
      replicas: 2
      resources:
        limits:
          memory: 64m
  old.style:
    image: app:1
    scale: 3
    restart: always
networks:
  default:
    internal: true
";

#[test]
fn every_gap_names_its_line() {
    let source = Source::new("compose.yaml", FILE).directory("/srv/shop");
    let options = LoadOptions::default();
    let loaded = load(&[source], &Environment::new(), &options).expect("it is valid");
    let able = [Feature::Spawn, Feature::RestartNo];
    let caps = Capabilities::none().with(&able, &Support::Native, Actor::Caller);
    let error = check(&loaded.stack, &caps, &PlanOptions::default()).expect_err("it cannot");
    let told: Vec<String> = error.gaps().iter().map(ToString::to_string).collect();
    let starts = [
        "compose.yaml:13:5: services.old.style.deploy.replicas: ",
        "compose.yaml:14:5: services.old.style.restart: ",
        "compose.yaml:7:7: services.web.deploy.replicas: ",
        "compose.yaml:4:5: services.web.ports: ",
        "compose.yaml:10:11: services.web.mem_limit: ",
        "compose.yaml:17:5: networks.default.internal: ",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(
            told.starts_with(start),
            "{told} does not start with {start}"
        );
    }
}
