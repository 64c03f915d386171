//! Runs the suite on the model and puts the result into `docs/matrix.json` and `docs/matrix.md`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use unmoor_conformance::{Disown, Evidence, Matrix, Options, run};
use unmoor_core::backend::Maker;
use unmoor_core::name::StackName;
use unmoor_sim::Sim;

/// What is in the model and somebody else's.
#[derive(Debug)]
struct Project(Sim);

#[async_trait]
impl Disown for Project {
    async fn disown(&self, stack: &StackName) -> Result<Maker, unmoor_core::Error> {
        let maker = Maker::Compose(stack.to_string());
        let _ = self.0.disown(stack, &maker);
        Ok(maker)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let sim = Sim::builder().sockets().build();
    let options = Options::new()
        .evidence(Evidence::Model)
        .clock(sim.clock())
        .disown(Arc::new(Project(sim.clone())));
    let report = run(sim.backend(), &options).await?;
    print!("{report}");
    if !report.is_success() {
        return Err("the model does not keep every claim; the matrix stays as it was".into());
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::create_dir_all(&docs)?;
    let mut matrix = Matrix::read(&docs)?;
    matrix.merge(&report);
    matrix.write(&docs)?;
    Ok(())
}
