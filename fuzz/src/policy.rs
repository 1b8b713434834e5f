//! A policy as an admin writes it: refused with every problem at its line, or checked, compiled and in force.

use sheshi_policy::{Compiled, Edition, GroupId, Moment, Name, Spec, compile};

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let policy = match Spec::parse(text).and_then(|spec| spec.check()) {
        Ok(policy) => policy,
        Err(problems) => {
            assert!(!problems.to_string().is_empty(), "a refusal says why");
            return;
        }
    };
    let edition = |list| Edition::parse_parts(list, &[(list.format, b"bad.example\n")], Some([1; 32])).ok();
    let editions: Vec<_> = policy.lists.iter().filter_map(edition).collect();
    let Ok(bytes) = compile(&policy, &editions, &mut |_| ()) else { return };
    let compiled = Compiled::from_bytes(bytes).expect("what we compiled we load");
    for group in 0..compiled.groups().len() as u16 {
        let view = compiled.view(GroupId(group), Moment::Unknown);
        let name = Name::parse("www.bad.example").expect("a name").wire();
        let verdict = compiled.decide(&name, &view);
        assert!(!compiled.block_text(&verdict.reason).contains('\n'), "one line of text");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let example = include_str!("../../examples/policy.toml");
    let texts = [
        example,
        "version = 1\n",
        "version = 1\n[list.a]\nfile = \"a\"\ncategory = \"adult\"\n[group.guest]\nallow = [\"=x.example\"]\n",
        "version = 1\ntime_zone = \"Europe/Tirane\"\n[schedule.night]\ndays = [\"mon\"]\nfrom = \"22:00\"\nto = \"06:00\"\n\
         [category.games]\nschedule = \"night\"\n",
        "version = 1\n[[order]]\nnames = [\"x.example\"]\nnumber = \"1/2026\"\nbody = \"AKEP\"\nbasis = \"law\"\ndate = 2026-01-01\n",
        "version = 1\n[[exception]]\nname = \"y.example\"\nowner = \"a\"\nreason = \"b\"\nexpires = 2027-01-01\n",
        "version = 2\n[list.a]\nfile = 1\nurl = \"http://x\"\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
