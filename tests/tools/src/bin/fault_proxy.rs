//! `fault-proxy`: the library's proxy from a command line, its log on standard output.

use std::io::Write as _;
use std::process::ExitCode;

use unmoor_tools::proxy::FaultProxy;

const USAGE: &str =
    "usage: fault-proxy (--http | --tcp) HOST:PORT [--listen ADDRESS] [--seed N] [--rule RULE]...

RULE is `METHOD PATH WHEN ACTION`:
  METHOD, PATH  as in the request, `*` for anything (a TCP connection is `TCP /`)
  WHEN          `*`, a number, a range such as `2..4`, or a share such as `10%`
  ACTION        delay=MS drop-before drop-after status=CODE[,RETRY_AFTER] truncate=BYTES
                corrupt=BYTES duplicate

prints `listening on ADDRESS`, then serves until it is ended, and prints its log when
standard input closes";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let proxy = match parse(&args) {
        Ok(proxy) => proxy,
        Err(problem) => {
            eprintln!("fault-proxy: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(proxy) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fault-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(proxy: FaultProxy) -> std::io::Result<()> {
    let running = proxy.start()?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", running.address())?;
    out.flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    for event in running.log() {
        writeln!(out, "{event}")?;
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<FaultProxy, String> {
    let mut proxy = None;
    let mut rest = args.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{flag} wants a value"))?;
        if let "--http" | "--tcp" = flag.as_str() {
            let make = if flag == "--http" {
                FaultProxy::http
            } else {
                FaultProxy::tcp
            };
            proxy = Some(make(value.clone()));
            continue;
        }
        let so_far: FaultProxy = proxy.take().ok_or("begin with --http or --tcp")?;
        proxy = Some(match flag.as_str() {
            "--listen" => so_far.listen(value),
            "--seed" => so_far.seed(
                value
                    .parse()
                    .map_err(|_| format!("seed {value:?}: no number"))?,
            ),
            "--rule" => so_far.rule(value.parse().map_err(|error| format!("{error}"))?),
            _ => return Err(format!("unknown option {flag}")),
        });
    }
    proxy.ok_or_else(|| "no server given".to_owned())
}
