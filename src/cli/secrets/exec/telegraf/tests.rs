use super::*;

const ID: &str = "influx";

fn rewritten(text: &str) -> Result<String, Failure> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("telegraf.conf");
    std::fs::write(&file, text).expect("a file");
    let telegraf = Telegraf { id: ID, arguments: vec![], table: String::new() };
    telegraf.rewritten(&file).map(|text| text.to_string())
}

#[test]
fn only_our_references_in_the_other_spelling_change_and_each_stays_as_long() {
    let text = "token = \"@<influx:edge>\" # é\nx = '@{influx:edge}@<influx:b>'\ny = \"@<other:k> @<influx> <@influx:a>\"\n";
    let expected = "token = \"@{influx:edge}\" # é\nx = '@{influx:edge}@{influx:b}'\ny = \"@<other:k> @<influx> <@influx:a>\"\n";
    assert_eq!(rewritten(text).expect("it is fine"), expected);
    for same in ["", "\n", "a = 1\n[[outputs.x]]", "x = \"@{other:a-b}\""] {
        assert_eq!(rewritten(same).expect("it is fine"), same);
    }
}

#[test]
fn what_telegraf_would_send_as_it_stands_is_told_with_its_line() {
    let error = rewritten("a = 1\n\n  token = \"@<influx:edge-writer>\"\n").expect_err("a dash");
    let said = error.to_string();
    assert!(said.contains("telegraf.conf\", line 3: ") && said.contains("edge-writer"), "{said}");
    let comment = "  # token = \"@{influx:your-token}\"\n";
    assert_eq!(rewritten(comment).expect("nobody reads it"), comment);
}
