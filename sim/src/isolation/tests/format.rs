//! Reading and writing histories.

use super::*;

/// What reading the lines says.
fn error(lines: &[&str]) -> String {
    read_history(lines.join("\n").as_bytes()).unwrap_err().to_string()
}

fn line(transaction: &Transaction) -> String {
    serde_json::to_string(transaction).unwrap()
}

#[test]
fn a_history_reads_back_as_it_was_written() {
    let rows = initial(&[("x", "x0")]);
    let transactions = vec![
        txn(1).read("x", "x0").absent("y").write("y", "y1").delete("x").commit(7),
        txn(2).snapshot().scan("a", "z", &[("x", "x0")]).abort(),
        txn(3).write("z", "z3").unknown(),
    ];
    let mut writer = HistoryWriter::new(Vec::new());
    writer.initial(rows.as_ref().unwrap()).unwrap();
    transactions.iter().for_each(|transaction| writer.transaction(transaction).unwrap());
    let bytes = writer.finish().unwrap();
    let history = read_history(bytes.as_slice()).unwrap();
    assert_eq!(history, History::new(rows, transactions).unwrap());
}

#[test]
fn a_transaction_is_one_line_of_plain_json() {
    let text = concat!(
        r#"{"client":4,"transaction":9,"isolation":"serializable","begin_ns":1,"end_ns":9,"#,
        r#""operations":[{"begin_ns":1,"end_ns":2,"#,
        r#""action":{"read":{"keyspace":"s","key":"78","value":null}}},"#,
        r#"{"begin_ns":3,"end_ns":4,"#,
        r#""action":{"write":{"keyspace":"s","key":"78","value":"0a"}}},"#,
        r#"{"begin_ns":5,"end_ns":6,"action":{"scan":{"keyspace":"s","#,
        r#""from":{"included":"78"},"to":"unbounded","rows":[["78","0a"]]}}}],"#,
        r#""outcome":{"committed":{"lsn":12}}}"#,
    );
    let history = read_history(text.as_bytes()).unwrap();
    assert_eq!(line(&history.transactions()[0]), text);
    assert!(check(&history).is_clean());
}

#[test]
fn an_empty_history_is_clean() {
    assert!(check(&read_history(&b""[..]).unwrap()).is_clean());
}

#[test]
fn a_bad_line_is_named_with_what_was_expected_and_found() {
    let good = line(&txn(1).commit(1));
    let text = error(&[&good, "{\"client\":1"]);
    let start = "line 2: expected a transaction, found what the parser calls: EOF";
    assert!(text.starts_with(start), "{text}");
    let late = error(&[&good, "{\"initial\":[]}"]);
    assert!(late.contains("line 2") && late.contains("unknown field `initial`"), "{late}");
}

#[test]
fn a_key_that_is_no_hex_is_refused() {
    for bad in ["abc", "AB", "zz"] {
        let row =
            format!("{{\"initial\":[{{\"keyspace\":\"s\",\"key\":\"{bad}\",\"value\":\"\"}}]}}");
        let text = error(&[&row]);
        let expected = format!("expected lowercase hex of whole bytes, found {bad:?}");
        assert!(text.contains("line 1") && text.contains(&expected), "{text}");
    }
}

#[test]
fn a_read_without_a_value_is_refused() {
    let text = error(&[&line(&txn(1).absent("x").commit(1)).replace(",\"value\":null", "")]);
    assert!(text.contains("line 1") && text.contains("missing field `value`"), "{text}");
}

#[test]
fn a_value_written_twice_is_refused() {
    let (one, two) = (txn(1).write("x", "v").commit(1), txn(2).write("y", "v").abort());
    let text = error(&[&line(&one), &line(&two)]);
    let expected =
        "line 2: expected a value that no other write has, found 76, written on line 1 as well";
    assert_eq!(text, expected);
    let rows = initial(&[("x", "v")]);
    assert!(History::new(rows, vec![one]).unwrap_err().to_string().starts_with("line 2"));
}

#[test]
fn a_transaction_number_used_twice_is_refused() {
    let text = error(&[&line(&txn(1).commit(1)), &line(&txn(1).abort())]);
    let expected =
        "line 2: expected a transaction number of its own, found 1, the number of line 1";
    assert_eq!(text, expected);
}

#[test]
fn an_lsn_of_two_writers_of_one_key_is_refused() {
    let (one, two) = (txn(1).write("x", "v1").commit(5), txn(2).write("x", "v2").commit(5));
    let text = error(&[&line(&one), &line(&two)]);
    let expected = "line 2: expected an LSN of its own among the writers of s/78, \
        found 5, the LSN of line 1";
    assert_eq!(text, expected);
    let elsewhere = txn(2).write("y", "v2").commit(5);
    assert!(read_history([line(&one), line(&elsewhere)].join("\n").as_bytes()).is_ok());
}

#[test]
fn times_out_of_order_are_refused() {
    let mut transaction = txn(1).absent("x").at(50).absent("y").commit(1);
    transaction.operations[1].begin_ns = 40;
    let expected = "line 1: expected operation 1 in order within 50..=1000 ns, found 40..=50 ns";
    assert_eq!(error(&[&line(&transaction)]), expected);
    let mut transaction = txn(1).commit(1);
    transaction.begin_ns = 2000;
    let expected = "line 1: expected an end at or after 2000 ns, found 1000 ns";
    assert_eq!(error(&[&line(&transaction)]), expected);
}
