//! Runs the suite on the model and puts the result into `docs/matrix.json` and `docs/matrix.md`.

use std::error::Error;
use std::path::Path;

use unmoor_conformance::{Evidence, Matrix, Options, run};
use unmoor_sim::Sim;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let sim = Sim::builder().sockets().build();
    let options = Options::new().evidence(Evidence::Model).clock(sim.clock());
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
