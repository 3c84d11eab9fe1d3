//! Probes whether a PostgreSQL socket accepts connections, with the minimum of the wire protocol.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::settings::Endpoint;

/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest message that is accepted, in bytes. Messages of a connection start are much shorter.
const LONGEST_MESSAGE: usize = 64 * 1024;

/// The answer of a server to a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The server accepts connections.
    Ready,
    /// The server is starting, recovering or shutting down (SQLSTATE 57P01, 57P02 or 57P03).
    NotYet,
    /// No process is listening, or it does not speak the protocol; with the I/O error.
    Silent(String),
    /// The server refuses for another reason, which waiting does not change; with its message.
    Refused(String),
}

/// Connects once, reads the answer and disconnects.
pub(super) fn probe(endpoint: &Endpoint) -> Answer {
    let (answer, answered) = mpsc::channel();
    let endpoint = endpoint.clone();
    // In a thread of its own: while the queue of a frozen server is full, connecting waits without a limit.
    let asking = thread::Builder::new().name("probe".to_owned()).spawn(move || {
        let _ = answer.send(converse(&endpoint));
    });
    let silent = |error: io::Error| Answer::Silent(error.to_string());
    match asking.map(|_| answered.recv_timeout(PATIENCE)) {
        Ok(Ok(answer)) => answer.unwrap_or_else(silent),
        Ok(Err(_)) => Answer::Silent(format!("no answer within {} s", PATIENCE.as_secs())),
        Err(error) => silent(error),
    }
}

fn converse(endpoint: &Endpoint) -> io::Result<Answer> {
    let mut socket = UnixStream::connect(endpoint.socket())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(&startup_message(endpoint.user, endpoint.database)?)?;
    let answer = read_answer(&mut socket)?;
    // Terminate (`X`): the way in which the protocol ends a session.
    if answer == Answer::Ready {
        socket.write_all(&[b'X', 0, 0, 0, 4])?;
    }
    Ok(answer)
}

fn startup_message(user: &str, database: &str) -> io::Result<Vec<u8>> {
    // 196,608 is protocol version 3.0.
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
    Ok([length.to_be_bytes().as_slice(), &body].concat())
}

/// Reads messages up to the first decisive one: `ReadyForQuery`, `ErrorResponse`, or a request to authenticate.
fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header)?;
        let [kind, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        // Another program may use the socket; its bytes must not be taken for a length and allocated.
        if !(4..=LONGEST_MESSAGE).contains(&length) {
            return Err(io::Error::other("the answer is not in the PostgreSQL protocol"));
        }
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body)?;
        match kind {
            b'Z' => return Ok(Answer::Ready),
            b'E' => return Ok(refusal(&body)),
            b'R' if !body.starts_with(&[0; 4]) => {
                return Ok(Answer::Refused("it asks for a password".to_owned()));
            }
            _ => {}
        }
    }
}

/// Classifies an `ErrorResponse` by its fields, each a letter and a text: `C` is the SQLSTATE, `M` the message.
fn refusal(body: &[u8]) -> Answer {
    let field = |name: u8| {
        let field = body.split(|&byte| byte == 0).find(|field| field.first() == Some(&name));
        field.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    match field(b'C').as_str() {
        "57P01" | "57P02" | "57P03" => Answer::NotYet,
        // Too many connections: other clients are connected, so the server accepts connections.
        "53300" => Answer::Ready,
        code => Answer::Refused(format!("{} (SQLSTATE {code})", field(b'M'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    #[test]
    fn ready_means_that_queries_are_welcome() {
        let bytes = [message(b'R', &[0; 4]), message(b'S', b"a\0b\0"), message(b'Z', b"I")].concat();
        assert_eq!(read_answer(&mut bytes.as_slice()).unwrap(), Answer::Ready);
    }

    #[test]
    fn a_server_in_recovery_is_waited_for() {
        let bytes = message(b'E', b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0");
        assert_eq!(read_answer(&mut bytes.as_slice()).unwrap(), Answer::NotYet);
    }

    #[test]
    fn other_refusals_are_told() {
        let bytes = message(b'E', b"SFATAL\0C3D000\0Mdatabase \"tenure\" does not exist\0\0");
        let refused = Answer::Refused("database \"tenure\" does not exist (SQLSTATE 3D000)".to_owned());
        assert_eq!(read_answer(&mut bytes.as_slice()).unwrap(), refused);
        let password = message(b'R', &[0, 0, 0, 10]);
        assert!(matches!(read_answer(&mut password.as_slice()).unwrap(), Answer::Refused(_)));
    }

    #[test]
    fn what_is_not_postgresql_is_an_error() {
        assert!(read_answer(&mut b"HTTP/1.1 400 Bad Request".as_slice()).is_err());
        assert!(read_answer(&mut b"".as_slice()).is_err());
    }
}
