//! Asks a PostgreSQL socket whether connections are accepted, in the few bytes of the protocol that this takes.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::settings::Endpoint;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest message that is read; those of a start are far below.
const LONGEST_MESSAGE: usize = 64 * 1024;

/// What a server says to a client that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It accepts connections.
    Ready,
    /// It starts, recovers, or shuts down (SQLSTATE 57P03 and its like).
    NotYet,
    /// Nobody listens, or what listens does not speak the protocol.
    Silent(String),
    /// It refuses for another reason.
    Refused(String),
}

/// Connects once and says good-bye.
pub(super) fn probe(endpoint: &Endpoint) -> Answer {
    let conversation = || -> io::Result<Answer> {
        let mut socket = UnixStream::connect(endpoint.socket())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(&startup_message(endpoint.user, endpoint.database)?)?;
        let answer = read_answer(&mut socket)?;
        if answer == Answer::Ready {
            socket.write_all(&[b'X', 0, 0, 0, 4])?;
        }
        Ok(answer)
    };
    conversation().unwrap_or_else(|error| Answer::Silent(error.to_string()))
}

fn startup_message(user: &str, database: &str) -> io::Result<Vec<u8>> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
    Ok([length.to_be_bytes().as_slice(), &body].concat())
}

/// Reads up to the first message that decides: an error, or that queries are welcome.
fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header)?;
        let [kind, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        if !(4..=LONGEST_MESSAGE).contains(&length) {
            return Err(io::Error::other("not PostgreSQL's protocol"));
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

/// Reads the fields of an `ErrorResponse`: a letter and a text each.
fn refusal(body: &[u8]) -> Answer {
    let field = |name: u8| {
        let field = body.split(|&byte| byte == 0).find(|field| field.first() == Some(&name));
        field.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    match field(b'C').as_str() {
        "57P01" | "57P02" | "57P03" => Answer::NotYet,
        // Every place is taken: by clients, who therefore got in.
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
