//! The table against itself and against the struct.

use super::*;
use std::collections::HashSet;

#[test]
fn every_default_parses_and_prints_back() {
    for setting in settings() {
        let mut settings = Settings::default();
        let words = setting.form.words_of(setting.default);
        setting.assign(&mut settings, &words).unwrap_or_else(|why| panic!("{}: {why}", setting.name));
        let text = setting.text(&mut settings);
        let words = setting.form.words_of(&text);
        setting.assign(&mut settings, &words).unwrap_or_else(|why| panic!("{}: {why}", setting.name));
        assert_eq!(setting.text(&mut settings), text, "{}", setting.name);
        let missing = setting.missing.is_some_and(|missing| (missing.wanted)(&text));
        assert!(!missing || setting.change == Change::FileOnly, "{}: default asks for it", setting.name);
    }
}

#[test]
fn names_are_unique_and_documented() {
    let mut names = HashSet::new();
    for setting in settings() {
        assert!(!setting.doc.is_empty() && !setting.doc.ends_with('.'), "{}", setting.name);
        for name in std::iter::once(setting.name).chain(setting.alias) {
            assert!(names.insert(name), "{name} twice");
            assert_eq!(name, name.to_ascii_lowercase());
        }
    }
}

/// Names and printed values of the struct's fields, as `Debug` lists them: it cannot forget one.
fn fields(settings: &Settings) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in format!("{settings:#?}").lines() {
        let own = line.strip_prefix("    ").filter(|own| own.starts_with(|c: char| c.is_ascii_lowercase()));
        match own.and_then(|own| own.split_once(": ")) {
            Some((field, value)) => fields.push((field.to_owned(), value.to_owned())),
            None => fields.last_mut().into_iter().for_each(|(_, value)| value.push_str(line)),
        }
    }
    fields
}

/// A field that no row fills would keep its blank value for ever; a row on the wrong field would leave one so.
#[test]
fn every_field_has_its_row() {
    let fields = fields(&Settings::default()).into_iter().map(|(field, _)| field);
    let fields: HashSet<String> = fields.filter(|field| field != "kept").collect();
    let rows: HashSet<String> = settings().filter_map(Setting::field).collect();
    assert_eq!(fields, rows);
}

#[test]
fn every_row_writes_the_field_of_its_name() {
    let other = |setting: &Setting| match setting.form {
        Form::Flag => if setting.default == "yes" { "no" } else { "yes" }.to_owned(),
        Form::Choice(names) => names().into_iter().find(|name| *name != setting.default).unwrap().to_owned(),
        Form::Memory(..) => "2mb".to_owned(),
        Form::Shape("address ...") => "127.0.0.1 -::1".to_owned(),
        Form::Shape("percentile ...") => "12.5".to_owned(),
        Form::Shape("class hard soft seconds ...") => "pubsub 1 2 3".to_owned(),
        _ => "7".to_owned(),
    };
    for setting in settings_with_field() {
        let before = Settings::default();
        let mut after = before.clone();
        setting.assign(&mut after, &setting.form.words_of(&other(setting))).unwrap();
        let pairs = fields(&before).into_iter().zip(fields(&after));
        let changed: Vec<_> =
            pairs.filter(|(before, after)| before != after).map(|(before, _)| before.0).collect();
        assert_eq!(changed, [setting.field().unwrap()]);
    }
}

#[test]
fn defaults_are_those_of_the_reference_server() {
    let settings = Settings::default();
    assert_eq!((settings.port, settings.databases, settings.maxclients), (6379, 16, 10000));
    assert_eq!(settings.bind, ["*", "-::*"]);
    assert_eq!(settings.proto_max_bulk_len, crate::limits::MAX_BULK);
    assert_eq!(settings.client_query_buffer_limit, 1 << 30);
    let replica = BufferLimit { hard: 256 << 20, soft: 64 << 20, soft_seconds: 60 };
    assert_eq!(settings.client_output_buffer_limit.replica, replica);
    assert_eq!(settings.maxmemory_policy, MaxmemoryPolicy::Noeviction);
    assert_eq!(settings.latency_tracking_info_percentiles, [50.0, 99.0, 99.9]);
    assert_eq!((settings.shards, settings.spin_us, settings.hz), (None, 50, 10));
    assert!(settings.protected_mode && settings.latency_tracking);
}
