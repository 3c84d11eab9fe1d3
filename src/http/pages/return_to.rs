//! Where a sign-in returns to: always a path of this site, so that links cannot redirect users to another site.

/// The path, if it is one of this site; otherwise the home page.
pub fn local_path(next: Option<&str>) -> &str {
    let is_path = |next: &&str| {
        next.starts_with('/')
            // `//host` is a URL on another host; browsers read `\` as `/`.
            && !next.starts_with("//")
            && next.len() <= 1_024
            && next.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\')
    };
    next.filter(is_path).unwrap_or("/")
}

/// The URL of the sign-in page that returns to this path.
pub fn sign_in_returning_to(path: &str) -> String {
    let next: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    format!("/sign-in?next={next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sign_in_leads_to_another_site() {
        for good in ["/", "/oauth/device/verify?user_code=ABCD-EFGH"] {
            assert_eq!(local_path(Some(good)), good);
        }
        for bad in [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/\t/evil.example",
            "javascript:alert(1)",
            "",
        ] {
            assert_eq!(local_path(Some(bad)), "/", "{bad:?}");
        }
        assert_eq!(local_path(None), "/");
    }
}
