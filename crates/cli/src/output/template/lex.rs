//! Template text to tokens.

use std::fmt;

/// A token; `Text` outside of actions, all others within.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.`
    Dot,
    /// `.Name` at the start of an operand
    Field(String),
    /// `.Name` right behind another operand
    Chained(String),
    /// `$name`; `$` alone is the empty name
    Variable(String),
    /// A bare word.
    Identifier(String),
    /// A quoted text.
    Str(String),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// `|`
    Pipe,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `(`
    LeftParenthesis,
    /// `)`
    RightParenthesis,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Str(text) => write!(f, "{text:?}"),
            Self::Open => f.write_str("\"{{\""),
            Self::Close => f.write_str("\"}}\""),
            Self::Dot => f.write_str("<.>"),
            Self::Field(name) | Self::Chained(name) => write!(f, "<.{name}>"),
            Self::Variable(name) => write!(f, "<${name}>"),
            Self::Identifier(name) => write!(f, "<{name}>"),
            Self::Int(number) => write!(f, "{number:?}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Pipe => f.write_str("\"|\""),
            Self::Comma => f.write_str("\",\""),
            Self::Declare => f.write_str("\":=\""),
            Self::Assign => f.write_str("\"=\""),
            Self::LeftParenthesis => f.write_str("\"(\""),
            Self::RightParenthesis => f.write_str("\")\""),
        }
    }
}

/// Takes a template apart; every token comes with its column.
pub(crate) fn lex(source: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut trim_next = false;
    loop {
        let (text, action) = match rest.find("{{") {
            Some(at) => (&rest[..at], Some(&rest[at + 2..])),
            None => (rest, None),
        };
        let mut text = if trim_next { text.trim_start() } else { text };
        let trims = action.is_some_and(|action| {
            action.starts_with('-') && action[1..].starts_with(char::is_whitespace)
        });
        if trims {
            text = text.trim_end();
        }
        if !text.is_empty() {
            tokens.push((0, Token::Text(text.to_owned())));
        }
        let Some(action) = action else { return Ok(tokens) };
        let action = if trims { &action[1..] } else { action };
        let column = source.len() - action.len();
        let body = Lexer { source: action, position: 0, tokens: Vec::new(), base: column };
        let (inner, used, trim) = body.action()?;
        // A comment leaves nothing behind.
        if !inner.is_empty() {
            tokens.push((column, Token::Open));
            tokens.extend(inner);
            tokens.push((column + used, Token::Close));
        }
        trim_next = trim;
        rest = &action[used..];
    }
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    tokens: Vec<(usize, Token)>,
    base: usize,
}

type Action = (Vec<(usize, Token)>, usize, bool);

impl Lexer<'_> {
    /// Reads up to `}}`: the tokens, the bytes used, and whether what follows is trimmed.
    fn action(mut self) -> Result<Action, String> {
        let trimmed = self.source.trim_start();
        if trimmed.starts_with("/*") {
            let end = trimmed.find("*/").ok_or("unclosed comment")?;
            self.position = self.source.len() - trimmed.len() + end + 2;
        }
        loop {
            let rest = &self.source[self.position..];
            if rest.starts_with("}}") {
                return Ok((self.tokens, self.position + 2, false));
            }
            if rest.trim_start().starts_with("-}}") && rest.starts_with(char::is_whitespace) {
                let skipped = rest.len() - rest.trim_start().len();
                return Ok((self.tokens, self.position + skipped + 3, true));
            }
            let Some(first) = rest.chars().next() else { return Err("unclosed action".to_owned()) };
            if first.is_whitespace() {
                self.position += first.len_utf8();
                continue;
            }
            let (token, length) = self.token(first, rest)?;
            self.tokens.push((self.base + self.position, token));
            self.position += length;
        }
    }

    fn token(&self, first: char, rest: &str) -> Result<(Token, usize), String> {
        let second = rest.chars().nth(1);
        Ok(match first {
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '(' => (Token::LeftParenthesis, 1),
            ')' => (Token::RightParenthesis, 1),
            '=' => (Token::Assign, 1),
            ':' if second == Some('=') => (Token::Declare, 2),
            '"' => quoted(rest)?,
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                (Token::Str(rest[1..=end].to_owned()), end + 2)
            }
            '$' => {
                let name = word(&rest[1..]);
                (Token::Variable(name.to_owned()), name.len() + 1)
            }
            '.' if second.is_some_and(is_word) && !second.is_some_and(|c| c.is_ascii_digit()) => {
                let name = word(&rest[1..]).to_owned();
                let length = name.len() + 1;
                let token =
                    if self.follows_operand() { Token::Chained(name) } else { Token::Field(name) };
                (token, length)
            }
            '.' => (Token::Dot, 1),
            '\'' => character(rest)?,
            _ if first.is_ascii_digit() || ((first == '-' || first == '+') && second.is_some()) => {
                number(rest)?
            }
            _ if is_word(first) => {
                let name = word(rest);
                (Token::Identifier(name.to_owned()), name.len())
            }
            _ => return Err(format!("unexpected {first:?} in command")),
        })
    }

    /// Whether the last token ends right here, so that a field belongs to it.
    fn follows_operand(&self) -> bool {
        let adjacent =
            self.position > 0 && !self.source[..self.position].ends_with(char::is_whitespace);
        adjacent
            && matches!(
                self.tokens.last(),
                Some((
                    _,
                    Token::Field(_)
                        | Token::Chained(_)
                        | Token::Variable(_)
                        | Token::RightParenthesis
                ))
            )
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word(text: &str) -> &str {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    &text[..end]
}

fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Str(text), at + 1)),
            '\\' => match chars.next() {
                Some((_, escaped)) => text.push(unescape(escaped)),
                None => break,
            },
            '\n' => break,
            _ => text.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn character(rest: &str) -> Result<(Token, usize), String> {
    let mut chars = rest.char_indices().skip(1);
    let value = match chars.next() {
        Some((_, '\\')) => chars.next().map(|(_, escaped)| unescape(escaped)),
        Some((_, c)) => Some(c),
        None => None,
    };
    match (value, chars.next()) {
        (Some(value), Some((at, '\''))) => Ok((Token::Int(i128::from(u32::from(value))), at + 1)),
        _ => Err("unterminated character constant".to_owned()),
    }
}

fn unescape(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        other => other,
    }
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let sign = usize::from(rest.starts_with(['-', '+']));
    let end = rest[sign..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
    let text = &rest[..end.map_or(rest.len(), |end| end + sign)];
    if let Ok(number) = text.parse() {
        return Ok((Token::Int(number), text.len()));
    }
    match text.parse() {
        Ok(number) => Ok((Token::Float(number), text.len())),
        Err(_) => Err(format!("bad number syntax: {text:?}")),
    }
}
