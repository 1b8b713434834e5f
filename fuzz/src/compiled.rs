//! A compiled policy whose digests are right and whose content somebody changed: it is refused, or it gives verdicts.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};
use sheshi_policy::{Compiled, Edition, GroupId, Moment, Name, Spec, compile};

const PAGE: usize = 4096;
const CHUNK: usize = 256 * 1024;

/// A file with something in every section.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = "version = 1\nallow = [\"good.bad.example\"]\n\
        [list.a]\nfile = \"a\"\nformat = \"adblock\"\ncategory = \"adult\"\n\
        [list.b]\nfile = \"b\"\nformat = \"addresses\"\ncategory = \"bypass\"\n\
        [list.c]\nfile = \"c\"\nformat = \"hashed\"\nkey_file = \"k\"\ncategory = \"csam\"\n";
    let policy = Spec::parse(text).and_then(|spec| spec.check()).expect("a good policy");
    let names: String = (0..50).map(|n| format!("||n{n}.example^\n")).collect();
    let texts = [names + "||bad.example^\n/^xx[0-9]+\\.test$/\n", "192.0.2.0/24\n".into(), "ab".repeat(32)];
    let editions = policy.lists.iter().zip(&texts).map(|(list, text)| {
        Edition::parse_parts(list, &[(list.format, text.as_bytes())], Some([1; 32])).expect("a list")
    });
    compile(&policy, &editions.collect::<Vec<_>>(), &mut |_| ()).expect("compiles")
});

/// Writes the digests anew, as the format says: of each chunk of the body, of those digests, of the header.
fn seal(file: &mut Vec<u8>) {
    let word = |file: &[u8], at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes")) as usize;
    let body = word(file, 32).clamp(PAGE, file.len());
    file.truncate(body);
    let digests: Vec<u8> = file[PAGE..].chunks(CHUNK).flat_map(Sha256::digest).collect();
    file[32..40].copy_from_slice(&(body as u64).to_le_bytes());
    file[48..80].copy_from_slice(&Sha256::digest(&digests));
    let header = Sha256::digest(&file[..PAGE]);
    file.extend(digests);
    file.extend(header);
}

/// The first byte: 0 the rest is a file as it is; else the rest are changes to a good one, three bytes of place and one of value,
/// and where it is 2 the first place is where the file is cut.
pub(crate) fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    if *how == 0 {
        return judge(rest.to_vec());
    }
    let mut file = FILE.clone();
    let place = |change: &[u8; 4]| usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
    let mut changes = rest.as_chunks::<4>().0;
    if let (2, [first, others @ ..]) = (*how, changes) {
        file.truncate(place(first).max(PAGE));
        changes = others;
    }
    for change in changes {
        let at = place(change) % file.len();
        file[at] = change[3];
    }
    seal(&mut file);
    judge(file);
}

fn judge(file: Vec<u8>) {
    let Ok(compiled) = Compiled::from_bytes(file) else { return };
    let view = compiled.view(GroupId(0), Moment::Unknown);
    for name in ["n7.example", "www.bad.example", "good.bad.example", "xx7.test", "other.example", "www.google.com"] {
        let wire = Name::parse(name).expect("a name").wire();
        let verdict = compiled.decide(&wire, &view);
        compiled.block_text(&verdict.reason);
        let told = compiled.explain(&wire, GroupId(0), Moment::Unknown);
        assert_eq!(told.rule, verdict.reason.rule, "what is explained is what is done");
    }
    compiled.decide_address("192.0.2.1".parse().expect("an address"), &view);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![1], vec![2, 0, 16, 0, 0], [&[0], &FILE[..FILE.len().min(8192)]].concat()];
    // One change in the header's table and in the first bytes of each section.
    let start = |section: usize| u64::from_le_bytes(FILE[96 + 16 * section..][..8].try_into().expect("eight bytes"));
    for section in 0..7 {
        let [.., a, b, c] = (start(section) + 1).to_be_bytes();
        seeds.push(vec![1, a, b, c, 0xff]);
        seeds.push(vec![1, 0, 0, 104 + 16 * section as u8, 1]);
    }
    seeds
}
