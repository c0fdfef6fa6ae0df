//! Template text to a tree: Go's `text/template` syntax as far as `--format` uses it.

use super::lex::{Token, lex};

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// Text that is printed as it is.
    Text(String),
    /// `{{pipeline}}`: its value is printed.
    Print(Pipeline),
    /// `{{$x := pipeline}}` or `{{$x = pipeline}}`.
    Assign { name: String, is_new: bool, value: Pipeline },
    /// `{{if}}...{{else}}...{{end}}`.
    If { condition: Pipeline, then: Vec<Self>, otherwise: Vec<Self> },
    /// `{{with}}`: like `if`, with the dot set.
    With { value: Pipeline, then: Vec<Self>, otherwise: Vec<Self> },
    /// `{{range}}`, with up to two variables.
    Range { variables: Vec<String>, value: Pipeline, body: Vec<Self>, otherwise: Vec<Self> },
}

/// Commands joined by `|`.
pub(crate) type Pipeline = Vec<Command>;

/// One operand, or a function or method with arguments.
pub(crate) type Command = Vec<Operand>;

/// A term and the fields taken from it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operand {
    /// What it starts from.
    pub(crate) term: Term,
    /// `.A.B` behind it.
    pub(crate) fields: Vec<String>,
    /// Column of the operand in the template, from 0.
    pub(crate) column: usize,
}

/// What an operand starts from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    /// `.`
    Dot,
    /// `$` and `$name`
    Variable(String),
    /// A function's name.
    Function(String),
    /// `"text"`
    Str(String),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// `true`, `false`
    Bool(bool),
    /// `nil`
    Nil,
    /// `(pipeline)`
    Group(Pipeline),
}

/// Parses a whole template.
pub(crate) fn parse(source: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser { tokens: lex(source)?, position: 0 };
    let (nodes, ending) = parser.nodes()?;
    match ending {
        Ending::Source => Ok(nodes),
        Ending::End => Err("unexpected {{end}}".to_owned()),
        Ending::Else => Err("unexpected {{else}}".to_owned()),
    }
}

#[derive(PartialEq)]
enum Ending {
    Source,
    End,
    Else,
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    position: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<(usize, Token)> {
        let token = self.tokens.get(self.position).cloned();
        self.position += 1;
        token
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.position += 1;
        }
        found
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Ending), String> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                None => return Ok((nodes, Ending::Source)),
                Some((_, Token::Text(text))) => nodes.push(Node::Text(text)),
                Some((_, Token::Open)) => {
                    let keyword = match self.peek() {
                        Some(Token::Identifier(word)) => word.clone(),
                        _ => String::new(),
                    };
                    match keyword.as_str() {
                        "end" => {
                            self.position += 1;
                            self.close()?;
                            return Ok((nodes, Ending::End));
                        }
                        "else" => {
                            self.position += 1;
                            return Ok((nodes, Ending::Else));
                        }
                        _ => nodes.push(self.action(&keyword)?),
                    }
                }
                Some((_, token)) => return Err(format!("unexpected {token}")),
            }
        }
    }

    fn action(&mut self, keyword: &str) -> Result<Node, String> {
        match keyword {
            "if" | "with" => {
                self.position += 1;
                self.branch(keyword)
            }
            "range" => {
                self.position += 1;
                self.range()
            }
            "define" | "template" | "block" | "break" | "continue" => {
                Err(format!("{{{{{keyword}}}}} is not supported"))
            }
            _ => {
                let node = match self.assignment() {
                    Some((name, is_new)) => Node::Assign { name, is_new, value: self.pipeline()? },
                    None => Node::Print(self.pipeline()?),
                };
                self.close()?;
                Ok(node)
            }
        }
    }

    /// `$name :=` or `$name =`, if that comes next.
    fn assignment(&mut self) -> Option<(String, bool)> {
        let Some(Token::Variable(name)) = self.peek() else { return None };
        let name = name.clone();
        let is_new = match self.tokens.get(self.position + 1) {
            Some((_, Token::Declare)) => true,
            Some((_, Token::Assign)) => false,
            _ => return None,
        };
        self.position += 2;
        Some((name, is_new))
    }

    fn branch(&mut self, keyword: &str) -> Result<Node, String> {
        let condition = self.pipeline()?;
        self.close()?;
        let (then, ending) = self.nodes()?;
        let otherwise = self.otherwise(ending, keyword)?;
        Ok(match keyword {
            "if" => Node::If { condition, then, otherwise },
            _ => Node::With { value: condition, then, otherwise },
        })
    }

    fn range(&mut self) -> Result<Node, String> {
        let mut variables = Vec::new();
        if let (Some((_, Token::Variable(first))), Some((_, Token::Comma))) =
            (self.tokens.get(self.position), self.tokens.get(self.position + 1))
        {
            variables.push(first.clone());
            self.position += 2;
        }
        if let Some((name, _)) = self.assignment() {
            variables.push(name);
        }
        let value = self.pipeline()?;
        self.close()?;
        let (body, ending) = self.nodes()?;
        let otherwise = self.otherwise(ending, "range")?;
        Ok(Node::Range { variables, value, body, otherwise })
    }

    fn otherwise(&mut self, ending: Ending, keyword: &str) -> Result<Vec<Node>, String> {
        match ending {
            Ending::End => Ok(Vec::new()),
            Ending::Source => Err("unexpected EOF".to_owned()),
            Ending::Else => {
                let chained = match self.peek() {
                    Some(Token::Identifier(word)) if word == keyword && keyword != "range" => true,
                    Some(Token::Close) => false,
                    _ => return Err("unexpected token in {{else}}".to_owned()),
                };
                if chained {
                    self.position += 1;
                    return Ok(vec![self.branch(keyword)?]);
                }
                self.close()?;
                match self.nodes()? {
                    (nodes, Ending::End) => Ok(nodes),
                    (_, Ending::Else) => Err("expected end; found {{else}}".to_owned()),
                    (_, Ending::Source) => Err("unexpected EOF".to_owned()),
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), String> {
        match self.next() {
            Some((_, Token::Close)) => Ok(()),
            Some((_, token)) => Err(format!("unexpected {token} in operand")),
            None => Err("unclosed action".to_owned()),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, String> {
        let mut commands = vec![self.command()?];
        while self.take(&Token::Pipe) {
            commands.push(self.command()?);
        }
        Ok(commands)
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
        }
        if operands.is_empty() {
            return Err("missing value for command".to_owned());
        }
        Ok(operands)
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some((column, token)) = self.tokens.get(self.position).cloned() else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        let term = match token {
            Token::Dot => Term::Dot,
            Token::Field(name) => {
                fields.push(name);
                Term::Dot
            }
            Token::Variable(name) => Term::Variable(name),
            Token::Str(text) => Term::Str(text),
            Token::Int(number) => Term::Int(number),
            Token::Float(number) => Term::Float(number),
            Token::Identifier(word) => match word.as_str() {
                "true" => Term::Bool(true),
                "false" => Term::Bool(false),
                "nil" => Term::Nil,
                _ if super::functions::exists(&word) => Term::Function(word),
                _ => return Err(format!("function {word:?} not defined")),
            },
            Token::LeftParenthesis => {
                self.position += 1;
                let inner = self.pipeline()?;
                if self.peek() != Some(&Token::RightParenthesis) {
                    return Err("unclosed left paren".to_owned());
                }
                Term::Group(inner)
            }
            _ => return Ok(None),
        };
        self.position += 1;
        let mut column = column;
        while let Some((at, Token::Chained(name))) = self.tokens.get(self.position) {
            if fields.len() <= 1 {
                // Go names the place of the second field for the whole chain.
                column = *at;
            }
            fields.push(name.clone());
            self.position += 1;
        }
        Ok(Some(Operand { term, fields, column }))
    }
}
