//! One TCP connection: bytes both ways, with the fault on what the server sends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::http::editor;
use super::rule::Action;
use super::serve::{Shared, pause};

pub(super) fn serve(shared: &Shared, number: u64, client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut verdict = shared.judge.decide(number, "TCP", "/");
    match verdict.action {
        Some(Action::DropBefore) => return shared.reset(number, client),
        Some(Action::Delay(time)) => pause(time),
        _ => {}
    }
    let server = shared.connect(number)?;
    let drop_after = verdict.action == Some(Action::DropAfter);
    let mut edit = editor(&mut verdict);
    let mut reset = false;
    thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, &mut |_| true));
        pump(&server, client, &mut |piece| {
            if drop_after {
                // The server has answered, so it has done the work; the client never hears of it.
                piece.clear();
                reset = true;
                return false;
            }
            edit(piece)
        });
        if reset {
            let _ = shared.reset(number, client);
        }
        // Whatever ended this way ends the other way too, or its thread would wait for ever.
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(if reset {
            Shutdown::Read
        } else {
            Shutdown::Both
        });
    });
    Ok(())
}

/// Copies until the source ends or `edit` says stop, then ends the destination's stream.
pub(super) fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    edit: &mut dyn FnMut(&mut Vec<u8>) -> bool,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        let mut piece = buffer[..size].to_vec();
        let go_on = edit(&mut piece);
        if to.write_all(&piece).is_err() || !go_on {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
