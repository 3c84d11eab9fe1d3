//! Parses the two forms of a connection string, `postgres://` URIs and `key=value` pairs, as libpq does (PostgreSQL
//! manual, 34.1.1; `fe-connect.c`).

use super::error::AddressError;

/// One decoded parameter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// The name of the parameter, such as `sslmode`.
    pub name: String,
    /// The value, without quotes and escapes.
    pub value: String,
    /// Whether an error may quote the name; `false` if it may be a piece of a badly escaped password.
    pub name_is_safe: bool,
}

/// Parses a connection string. Later parameters override earlier ones of the same name.
pub(super) fn parse(text: &str) -> Result<Vec<Parameter>, AddressError> {
    for scheme in ["postgresql://", "postgres://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return parse_uri(rest);
        }
    }
    // A value of a pair may contain `://`; a scheme has no `=` before it.
    if text.contains("://") && !text.split("://").next().unwrap_or_default().contains('=') {
        return Err(AddressError::Unreadable("the scheme must be postgres:// or postgresql://"));
    }
    parse_pairs(text)
}

fn parameter(name: &str, value: String) -> Parameter {
    Parameter { name: name.to_owned(), value, name_is_safe: true }
}

/// `[user[:password]@][host[:port][,…]][/dbname][?name=value[&…]]`
fn parse_uri(text: &str) -> Result<Vec<Parameter>, AddressError> {
    let mut all = Vec::new();
    let mut rest = text;
    // As in libpq, credentials end at the first `@` before any `/`, so a raw `?` belongs to the password.
    if let Some(end) = rest.find(['@', '/']).filter(|end| rest[*end..].starts_with('@')) {
        let (credentials, behind) = (&rest[..end], &rest[end + 1..]);
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        if !user.is_empty() {
            all.push(parameter("user", percent_decode(user)?));
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            all.push(parameter("password", percent_decode(password)?));
        }
        rest = behind;
    }
    // A second raw `@` means that the password was cut short: the text after the first one may be the rest of it.
    let name_is_safe = !rest.contains('@');

    if rest.split('?').next().is_some_and(|before| before.contains('@')) {
        // libpq would read it as part of the host or the database and print it in the error.
        return Err(AddressError::Unreadable(
            "percent-encode `@` as %40 and `/` as %2F in user, password and database",
        ));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (hosts, ports) = host_list(&rest[..end])?;
    if hosts.iter().any(|host| !host.is_empty()) {
        all.push(parameter("host", hosts.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        all.push(parameter("port", ports.join(",")));
    }
    rest = &rest[end..];

    if let Some(path) = rest.strip_prefix('/') {
        let end = path.find('?').unwrap_or(path.len());
        if end > 0 {
            all.push(parameter("dbname", percent_decode(&path[..end])?));
        }
        rest = &path[end..];
    }
    if let Some(query) = rest.strip_prefix('?').filter(|query| !query.is_empty()) {
        for pair in query.strip_suffix('&').unwrap_or(query).split('&') {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(AddressError::Unreadable(
                    "a parameter after the `?` has no `=`: write name=value",
                ));
            };
            if value.contains('=') {
                return Err(AddressError::Unreadable(
                    "a parameter after the `?` has more than one `=`; write %3D for a literal `=`",
                ));
            }
            let (name, value) = (percent_decode(name)?, percent_decode(value)?);
            // As in libpq, which accepts the URLs of JDBC.
            let (name, value) = match (name.as_str(), value.as_str()) {
                ("ssl", "true") => ("sslmode".to_owned(), "require".to_owned()),
                _ => (name, value),
            };
            all.push(Parameter { name, value, name_is_safe });
        }
    }
    Ok(all)
}

/// `host[:port][,…]`, with IPv6 addresses in brackets.
fn host_list(text: &str) -> Result<(Vec<String>, Vec<String>), AddressError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, behind) = match one.strip_prefix('[') {
            Some(address) => match address.split_once(']') {
                None => return Err(AddressError::Unreadable("an IPv6 address has no closing `]`")),
                Some(("", _)) => {
                    return Err(AddressError::Unreadable("an IPv6 address is missing between `[` and `]`"));
                }
                Some((host, behind)) => (host, behind),
            },
            None => one.split_at(one.find(':').unwrap_or(one.len())),
        };
        let port = match behind.strip_prefix(':') {
            Some(port) => port,
            None if behind.is_empty() => "",
            None => {
                return Err(AddressError::Unreadable(
                    "after the `]` of an IPv6 address, only `:port` is allowed",
                ));
            }
        };
        hosts.push(percent_decode(host)?);
        ports.push(percent_decode(port)?);
    }
    Ok((hosts, ports))
}

/// `name = value` pairs, separated by blanks. Values may be quoted; `\` escapes a character with and without quotes.
fn parse_pairs(text: &str) -> Result<Vec<Parameter>, AddressError> {
    let mut all: Vec<Parameter> = Vec::new();
    let mut characters = text.chars().peekable();
    // The rest of an unquoted password with a blank looks like the next name.
    let mut name_is_safe = true;
    loop {
        while characters.next_if(|next| is_blank(*next)).is_some() {}
        if characters.peek().is_none() {
            return Ok(all);
        }
        let mut name = String::new();
        while let Some(next) = characters.next_if(|next| *next != '=' && !is_blank(*next)) {
            name.push(next);
        }
        while characters.next_if(|next| is_blank(*next)).is_some() {}
        if characters.next() != Some('=') {
            return Err(AddressError::Unreadable(
                "it is neither a postgres:// URI nor `key=value` pairs (quote a value that contains blanks: 'a b')",
            ));
        }
        let mut has_blank = false;
        while characters.next_if(|next| is_blank(*next)).is_some() {
            has_blank = true;
        }
        let quoted = characters.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match characters.peek() {
                None if quoted => {
                    return Err(AddressError::Unreadable("a quoted value has no closing quote"));
                }
                None => break,
                Some('\'') if quoted => {
                    characters.next();
                    break;
                }
                Some(next) if !quoted && is_blank(*next) => break,
                Some('\\') => {
                    characters.next();
                    value.extend(characters.next());
                }
                Some(_) => value.extend(characters.next()),
            }
        }
        let begins_a_pair = value.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        if has_blank && !quoted && begins_a_pair {
            // libpq would use the next pair as the value, for example of the password; that is never intended.
            return Err(AddressError::Unreadable(
                "a value is missing after a `=`: write '' for an empty value",
            ));
        }
        let next_is_safe = name != "password";
        all.push(Parameter { name, value, name_is_safe });
        name_is_safe = next_is_safe;
    }
}

/// C's `isspace`.
const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// Decodes `%XX`. As in libpq, refuses incomplete escapes and `%00`; also refuses text that is not UTF-8.
fn percent_decode(text: &str) -> Result<String, AddressError> {
    let malformed = AddressError::Unreadable(
        "a `%` is not followed by two hexadecimal digits; write %25 for a literal `%`",
    );
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(0) => return Err(AddressError::Unreadable("%00 is not allowed")),
            Some(byte) => out.push(byte),
            None => return Err(malformed),
        }
        at += 3;
    }
    String::from_utf8(out).map_err(|_| AddressError::Unreadable("a percent-encoded value is not valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|Parameter { name, value, .. }| (name, value)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_value_after_a_blank_may_have_an_equals_sign_unless_it_is_the_next_pair() {
        let parsed = parsed("password = c2VjcmV0== host = db");
        assert_eq!(parsed, pairs(&[("password", "c2VjcmV0=="), ("host", "db")]));
        assert!(parse("password = host=db").is_err());
        assert!(parse("password = sslmode=require").is_err());
    }

    /// The examples of the manual, and others as parsed by `psql` of PostgreSQL 15.
    #[test]
    fn uris_are_taken_apart_as_libpq_does_it() {
        assert_eq!(parsed("postgresql://"), pairs(&[]));
        assert_eq!(parsed("postgres://localhost/mydb"), pairs(&[("host", "localhost"), ("dbname", "mydb")]));
        assert_eq!(
            parsed("postgresql://user:secret@localhost:5433"),
            pairs(&[("user", "user"), ("password", "secret"), ("host", "localhost"), ("port", "5433")])
        );
        assert_eq!(
            parsed("postgresql://host1:123,host2:456/somedb?target_session_attrs=any&application_name=myapp"),
            pairs(&[
                ("host", "host1,host2"),
                ("port", "123,456"),
                ("dbname", "somedb"),
                ("target_session_attrs", "any"),
                ("application_name", "myapp"),
            ])
        );
        assert_eq!(
            parsed("postgresql://[2001:db8::1234]:5432/database"),
            pairs(&[("host", "2001:db8::1234"), ("port", "5432"), ("dbname", "database")])
        );
        assert_eq!(
            parsed("postgresql://%2Fvar%2Flib%2Fpostgresql/dbname"),
            pairs(&[("host", "/var/lib/postgresql"), ("dbname", "dbname")])
        );
        assert_eq!(
            parsed("postgresql:///mydb?host=localhost&port=5433"),
            pairs(&[("dbname", "mydb"), ("host", "localhost"), ("port", "5433")])
        );
        assert_eq!(
            parsed("postgres://u:what?&ever@h/d?%73slmode=require"),
            pairs(&[
                ("user", "u"),
                ("password", "what?&ever"),
                ("host", "h"),
                ("dbname", "d"),
                ("sslmode", "require")
            ])
        );
        assert_eq!(parsed("postgres://h?ssl=true"), pairs(&[("host", "h"), ("sslmode", "require")]));
    }

    #[test]
    fn pairs_are_taken_apart_as_libpq_does_it() {
        assert_eq!(
            parsed(r"host = h  password='a  b\'c\\'	sslmode= require"),
            pairs(&[("host", "h"), ("password", r"a  b'c\"), ("sslmode", "require")])
        );
        assert_eq!(parsed(r"password=a\ b user=''"), pairs(&[("password", "a b"), ("user", "")]));
        assert_eq!(parsed(""), pairs(&[]));
        // A value may follow blanks after its `=`, unless it looks like another pair.
        assert_eq!(parsed("password= x"), pairs(&[("password", "x")]));
        assert!(parse("password= user=x").is_err());
        assert_eq!(parsed("password=p://q host=h"), pairs(&[("password", "p://q"), ("host", "h")]));
    }

    #[test]
    fn malformed_strings_are_refused_without_quoting_them() {
        for text in [
            "mysql://hunter2@h/d",
            "postgres://u:hunter2@h/d?sslmode",
            "postgres://u:hunter2@h/d?sslmode=a=b",
            "postgres://u:hunter2%zz@h/d",
            "postgres://u:hunter2%00@h/d",
            "postgres://u:hunter2@[::1/d",
            "password=a hunter2 host=h",
            "password='hunter2",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(parse("postgres://u:a@b@h/d").is_err() && parse("postgres://u:a/b@h/d").is_err());
        let cut = parse("postgres://u:a@b?hunter2=x@h/d").unwrap();
        assert!(!cut.iter().any(|parameter| parameter.name == "hunter2" && parameter.name_is_safe));
        let cut = parse("password=a hunter2=x host=h").unwrap();
        assert!(!cut.iter().any(|parameter| parameter.name == "hunter2" && parameter.name_is_safe));
    }
}
