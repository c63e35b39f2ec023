use super::*;
use crate::ids::KeyspaceId;

/// A range keyspace of three tablets, which begin at b"", b"g" and b"p"; of those in `lost` the
/// rows are gone.
fn keyspace(routing: Routing, lost: &[u32]) -> SourceKeyspace {
    let id = KeyspaceId::new(1);
    let boundaries = [&b""[..], b"g", b"p"];
    let row = |index: u32| TabletRow {
        id: TabletId { keyspace: id, index },
        merge_lsn: Lsn::new(800),
        tree_lsn: Lsn::new(800),
        root: None,
        root_level: 0,
        row_count: 0,
        space: None,
        lower_boundary: boundaries[index as usize].to_vec(),
    };
    let rows: BTreeMap<u32, TabletRow> =
        (0..3).filter(|index| !lost.contains(index)).map(|index| (index, row(index))).collect();
    let own: BTreeMap<u32, &TabletRow> = rows.iter().map(|(&index, row)| (index, row)).collect();
    let tablet = |(&index, row): (&u32, &TabletRow)| {
        let name = ProblemTablet { keyspace: "k".to_owned(), id: TabletId { keyspace: id, index } };
        SourceTablet {
            walked: walked(name, &routing, &own),
            root: None,
            merge_lsn: row.merge_lsn,
            last_key: None,
        }
    };
    let tablets = rows.iter().map(tablet).collect();
    let def =
        KeyspaceDef { id, name: "k".to_owned(), routing: routing.clone(), created_lsn: Lsn::ZERO };
    SourceKeyspace { keyspace: Keyspace::new(def), tablets }
}

#[test]
fn what_a_tree_holds_is_not_taken_for_lost_with_the_tablet_after_it() {
    let known = Routing::Range { boundaries: vec![b"p".to_vec()] };
    let mut keyspace = keyspace(known, &[1]);
    let lost = TabletId { keyspace: keyspace.keyspace.id(), index: 1 };
    assert!(keyspace.may_lack(lost, b"c"), "no row of the tablet before it was read");
    keyspace.tablets[0].last_key = Some(b"e".to_vec());
    for (key, is_lost) in [(b"c", false), (b"e", false), (b"f", true), (b"h", true)] {
        assert_eq!(keyspace.may_lack(lost, key), is_lost, "{}", key.escape_ascii());
    }
    let damaged = TabletId { index: 0, ..lost };
    assert!(keyspace.may_lack(damaged, b"c"), "of its own tree a page may be lost");
}
