//! The table of promises names a test for each row, and each of them exists.

use std::fs;
use std::path::Path;

#[test]
fn every_row_of_the_contract_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/contract.md")).unwrap();
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| `") || line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [operation, _, test] = cells.as_slice() else { panic!("three cells: {line}") };
        if *test == "held by" || test.starts_with("---") {
            continue;
        }
        rows += 1;
        let test = test.trim_matches('`');
        let (module, name) = test.rsplit_once("::").unwrap_or_else(|| panic!("{operation} has no test"));
        let file = root.join("tests").join(module.replace("::", "/")).with_extension("rs");
        let source = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(source.contains(&format!("fn {name}()")), "{operation}: there is no test {test}");
    }
    assert!(rows >= 50, "{rows} rows");
}
