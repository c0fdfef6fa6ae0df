//! Templates and what they print.

use super::{Row, Template, Value};

fn data() -> Value {
    Value::parse(
        br#"{"Id":"abc","Name":"/web","State":{"Running":true,"Pid":42,"Health":null},"Args":["a","b c"],
            "Labels":{"z":"1","a":"x.y"},"Empty":[],"Size":1.5,"Big":18446744073709551615}"#,
    )
    .expect("good JSON")
}

fn render(template: &str) -> Result<String, String> {
    Template::parse(template)
        .and_then(|template| template.render(&data()))
        .map_err(|failure| failure.text)
}

#[test]
fn templates_print_what_go_prints() {
    let table = [
        ("plain", "plain"),
        ("{{.Id}}", "abc"),
        ("{{ .State.Pid }} {{.State.Running}}", "42 true"),
        ("{{.State.Health}}", "<no value>"),
        (
            "{{.Args}} {{.Labels}} {{.Size}} {{.Big}}",
            "[a b c] map[a:x.y z:1] 1.5 18446744073709551615",
        ),
        ("{{json .State}}", r#"{"Running":true,"Pid":42,"Health":null}"#),
        ("{{json .Labels}}", r#"{"z":"1","a":"x.y"}"#),
        ("{{.Args | json}}", r#"["a","b c"]"#),
        (r#"{{join .Args ","}}"#, "a,b c"),
        (r#"{{(split "a:b" ":")}}"#, "[a b]"),
        (r#"{{index (split "a:b" ":") 1}}"#, "b"),
        (r#"{{index .Labels "a"}}"#, "x.y"),
        (r#"{{index .Args 0}}"#, "a"),
        ("{{len .Args}} {{len .Id}}", "2 3"),
        ("{{upper .Id}} {{title \"some text\"}} {{lower \"AB\"}}", "ABC Some Text ab"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if not .State.Running}}a{{else if eq .Id \"abc\"}}b{{else}}c{{end}}", "b"),
        ("{{range .Args}}<{{.}}>{{end}}", "<a><b c>"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $v := .Args}}{{$i}}={{$v}};{{end}}", "0=a;1=b c;"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a=x.y z=1 "),
        ("{{with .State}}{{.Pid}}{{end}}", "42"),
        ("{{with .State.Health}}x{{else}}none{{end}}", "none"),
        ("{{$x := .Id}}{{range .Args}}{{$x}}{{$.Name}} {{end}}", "abc/web abc/web "),
        ("{{and .Id .Name}} {{or .State.Health .Name}}", "/web /web"),
        (
            "{{eq 1 1}} {{ne .Id \"x\"}} {{lt 1 2}} {{ge 1 2}} {{eq .Id \"x\" \"abc\"}}",
            "true true true false true",
        ),
        (
            "{{printf \"%s-%d %5s|%-5s|%05d %q %.2f %%\" .Id 7 \"x\" \"y\" 42 \"q\" 1.005}}",
            "abc-7     x|y    |00042 \"q\" 1.00 %",
        ),
        ("{{print .Id 1 2}} {{println \"x\" 1}}", "abc1 2 x 1\n"),
        ("{{slice .Id 0 2}} {{truncate .Id 1}} [{{pad .Id 1 2}}]", "ab a [ abc  ]"),
        ("a {{- .Id -}} b", "aabcb"),
        ("{{/* nothing */}}x", "x"),
        ("{{`raw {{`}}", "raw {{"),
        ("{{.State.Running | printf \"%v\" | upper}}", "TRUE"),
        ("{{(index .Args 1) | len}}", "3"),
        ("{{\"{{\"}}", "{{"),
    ];
    for (template, expected) in table {
        assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn mistakes_are_reported_in_gos_words() {
    let table = [
        ("{{", "template parsing error: template: :1: unclosed action"),
        ("{{.Id", "template parsing error: template: :1: unclosed action"),
        ("{{if .Id}}", "template parsing error: template: :1: unexpected EOF"),
        ("{{end}}", "template parsing error: template: :1: unexpected {{end}}"),
        ("{{nope .Id}}", "template parsing error: template: :1: function \"nope\" not defined"),
        (
            "{{.Nope}}",
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\"",
        ),
        (
            "x {{.State.Nope}}",
            "template parsing error: template: :1:10: executing \"\" at <.State.Nope>: map has no entry for key \"Nope\"",
        ),
    ];
    for (template, expected) in table {
        assert_eq!(render(template).expect_err(template), expected, "{template}");
    }
}

#[test]
fn a_row_has_labels_as_a_method_and_prints_its_columns_as_json() {
    let row = Row::new(vec![("Names", "web".into()), ("ID", "abc".into())])
        .with_labels([("com.x".to_owned(), "1".to_owned())]);
    let row = Value::Row(row);
    let render =
        |text: &str| Template::parse(text).and_then(|t| t.render(&row)).map_err(|f| f.text);
    assert_eq!(render(r#"{{.ID}} {{.Label "com.x"}}{{.Label "none"}}"#).as_deref(), Ok("abc 1"));
    assert_eq!(render("{{json .}}").as_deref(), Ok(r#"{"ID":"abc","Names":"web"}"#));
}
