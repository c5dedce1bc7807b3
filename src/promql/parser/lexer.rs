//! From characters to tokens. Whether a brace or a bracket is open decides what may follow, so the lexer finds unclosed
//! ones before the grammar does.

use super::token::{Keyword, Token, TokenKind, keyword};
use crate::promql::ast::{BinaryOp, Span};

/// The tokens of a text; the last one is `End` or `Error`.
pub struct Tokens {
    pub list: Vec<Token>,
    /// Where and why the text is wrong, if the last token is `Error`.
    pub error: Option<(Span, String)>,
}

/// Cuts `text` into tokens up to its end or the first character that cannot stand where it stands.
pub fn lex(text: &str) -> Tokens {
    let mut lexer = Lexer { text, start: 0, at: 0, tokens: Vec::new(), mode: Mode::Plain, parens: 0 };
    let error = loop {
        match lexer.next() {
            Ok(true) => {}
            Ok(false) => break None,
            Err(message) => break Some((Span { start: lexer.start, end: text.len() }, message)),
        }
    };
    let kind = if error.is_some() { TokenKind::Error } else { TokenKind::End };
    let span = Span { start: lexer.start, end: text.len() };
    lexer.tokens.push(Token { kind, span });
    Tokens { list: lexer.tokens, error }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Plain,
    Braces,
    Brackets { value_seen: bool, colon_seen: bool },
}

struct Lexer<'a> {
    text: &'a str,
    /// Where the current token begins.
    start: usize,
    at: usize,
    tokens: Vec<Token>,
    mode: Mode,
    parens: usize,
}

impl Lexer<'_> {
    /// One token, space or comment further; false at the end.
    fn next(&mut self) -> Result<bool, String> {
        self.start = self.at;
        let Some(c) = self.peek() else { return self.finish() };
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            self.at += 1;
            return Ok(true);
        }
        if c == '#' {
            let rest = &self.text[self.at..];
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            return Ok(true);
        }
        self.at += c.len_utf8();
        match self.mode {
            Mode::Braces => self.inside_braces(c)?,
            Mode::Plain => self.plain(c)?,
            Mode::Brackets { value_seen, colon_seen } => self.inside_brackets(c, value_seen, colon_seen)?,
        }
        Ok(true)
    }

    fn finish(&self) -> Result<bool, String> {
        match self.mode {
            Mode::Braces => Err("unexpected end of input inside braces".to_owned()),
            _ if self.parens > 0 => Err("unclosed left parenthesis".to_owned()),
            Mode::Brackets { value_seen: false, .. } => {
                Err("unexpected end of input in duration expression".to_owned())
            }
            Mode::Brackets { .. } => Err("unclosed left bracket".to_owned()),
            Mode::Plain => Ok(false),
        }
    }

    fn plain(&mut self, c: char) -> Result<(), String> {
        match c {
            ',' => self.emit(TokenKind::Comma),
            '@' => self.emit(TokenKind::At),
            '=' => match self.peek() {
                Some('=') => self.emit_two(BinaryOp::Equal),
                Some('~') => return Err("unexpected character after '=': '~'".to_owned()),
                _ => self.emit(TokenKind::Assign),
            },
            '!' => match self.peek() {
                Some('=') => self.emit_two(BinaryOp::NotEqual),
                other => return Err(format!("unexpected character after '!': {}", show(other))),
            },
            '<' => match self.peek() {
                Some('=') => self.emit_two(BinaryOp::LessEqual),
                Some('/') => self.emit_two(BinaryOp::TrimUpper),
                _ => self.emit(TokenKind::Op(BinaryOp::Less)),
            },
            '>' => match self.peek() {
                Some('=') => self.emit_two(BinaryOp::GreaterEqual),
                Some('/') => self.emit_two(BinaryOp::TrimLower),
                _ => self.emit(TokenKind::Op(BinaryOp::Greater)),
            },
            '"' | '\'' => self.quoted(c)?,
            '`' => self.raw()?,
            '{' => {
                self.emit(TokenKind::LeftBrace);
                self.mode = Mode::Braces;
            }
            '[' => {
                self.emit(TokenKind::LeftBracket);
                self.mode = Mode::Brackets { value_seen: false, colon_seen: false };
            }
            ']' => return Err("unexpected right bracket ']'".to_owned()),
            _ if is_alpha(c) || c == ':' => self.word(),
            _ => return self.arithmetic(c),
        }
        Ok(())
    }

    /// What may stand in an expression as well as in a duration.
    fn arithmetic(&mut self, c: char) -> Result<(), String> {
        match c {
            '+' => self.emit(TokenKind::Op(BinaryOp::Add)),
            '-' => self.emit(TokenKind::Op(BinaryOp::Sub)),
            '*' => self.emit(TokenKind::Op(BinaryOp::Mul)),
            '/' => self.emit(TokenKind::Op(BinaryOp::Div)),
            '%' => self.emit(TokenKind::Op(BinaryOp::Mod)),
            '^' => self.emit(TokenKind::Op(BinaryOp::Pow)),
            '(' => {
                self.parens += 1;
                self.emit(TokenKind::LeftParen);
            }
            ')' => {
                let Some(parens) = self.parens.checked_sub(1) else {
                    self.start = self.at;
                    return Err("unexpected right parenthesis ')'".to_owned());
                };
                self.parens = parens;
                self.emit(TokenKind::RightParen);
            }
            '.' if !self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                return Err("unexpected character: '.'".to_owned());
            }
            '0'..='9' | '.' => self.number_or_duration()?,
            _ => return Err(format!("unexpected character: {}", show(Some(c)))),
        }
        Ok(())
    }

    fn inside_braces(&mut self, c: char) -> Result<(), String> {
        match c {
            ',' => self.emit(TokenKind::Comma),
            '"' | '\'' => self.quoted(c)?,
            '`' => self.raw()?,
            '=' if self.eat('~') => self.emit(TokenKind::Match),
            '=' => self.emit(TokenKind::Assign),
            '!' if self.eat('~') => self.emit(TokenKind::Match),
            '!' if self.eat('=') => self.emit(TokenKind::Op(BinaryOp::NotEqual)),
            '!' => return Err(format!("unexpected character after '!' inside braces: {}", show(self.peek()))),
            '{' => return Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.emit(TokenKind::RightBrace);
                self.mode = Mode::Plain;
            }
            _ if is_alpha(c) => {
                self.eat_while(is_alphanumeric);
                self.emit(TokenKind::Identifier);
            }
            _ => return Err(format!("unexpected character inside braces: {}", show(Some(c)))),
        }
        Ok(())
    }

    fn inside_brackets(&mut self, c: char, value_seen: bool, colon_seen: bool) -> Result<(), String> {
        match c {
            ']' => {
                self.emit(TokenKind::RightBracket);
                self.mode = Mode::Plain;
                return Ok(());
            }
            '[' => return Err("unexpected left bracket '['".to_owned()),
            ',' => {
                self.emit(TokenKind::Comma);
                return Ok(());
            }
            ':' if !value_seen => {
                return Err("unexpected colon before duration in duration expression".to_owned());
            }
            ':' if colon_seen => return Err("unexpected colon ':'".to_owned()),
            ':' => {
                self.emit(TokenKind::Colon);
                self.mode = Mode::Brackets { value_seen, colon_seen: true };
                return Ok(());
            }
            _ if is_alpha(c) => {
                self.eat_while(is_alphanumeric);
                let word = &self.text[self.start..self.at];
                let known = ["step", "range", "min_of", "max_of"];
                if known.iter().any(|k| k.eq_ignore_ascii_case(word)) {
                    self.emit(keyword(word).unwrap_or(TokenKind::Identifier));
                } else if value_seen {
                    return Err(format!("unexpected character: {}, expected ':'", show(Some(c))));
                } else {
                    return Err(format!("unexpected character in duration expression: {}", show(Some(c))));
                }
            }
            _ if !value_seen && !c.is_ascii_digit() && !"+-*/%^().".contains(c) => {
                return Err(format!("unexpected character in duration expression: {}", show(Some(c))));
            }
            _ => self.arithmetic(c)?,
        }
        let value_seen = value_seen || is_alphanumeric(c) || c == '.';
        self.mode = Mode::Brackets { value_seen, colon_seen };
        Ok(())
    }

    fn word(&mut self) {
        self.eat_while(|c| is_alphanumeric(c) || c == ':');
        let word = &self.text[self.start..self.at];
        let kind = match keyword(word) {
            // These came late: where no parenthesis follows they stay the metric names they may have been.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(') =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        };
        self.emit(kind);
    }

    /// The opening quote has been read.
    fn quoted(&mut self, quote: char) -> Result<(), String> {
        loop {
            match self.bump() {
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some('\\') => self.escape(quote)?,
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(TokenKind::Text);
        Ok(())
    }

    fn raw(&mut self) -> Result<(), String> {
        while let Some(c) = self.bump() {
            if c == '`' {
                self.emit(TokenKind::Text);
                return Ok(());
            }
        }
        Err("unterminated raw string".to_owned())
    }

    /// Checks an escape sequence; its value is computed where the string is used.
    fn escape(&mut self, quote: char) -> Result<(), String> {
        let (mut digits, base, max) = match self.bump() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.at -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, u32::from(char::MAX)),
            Some('U') => (8, 16, u32::from(char::MAX)),
            None => return Err("escape sequence not terminated".to_owned()),
            Some(c) => return Err(format!("unknown escape sequence {}", show_code_point(c))),
        };
        let mut value = 0u32;
        while digits > 0 {
            let Some(c) = self.bump() else { return Err("escape sequence not terminated".to_owned()) };
            let Some(digit) = c.to_digit(base) else {
                return Err(format!("illegal character {} in escape sequence", show_code_point(c)));
            };
            // Eight hexadecimal digits at most: no overflow.
            value = value * base + digit;
            digits -= 1;
        }
        if value > max || (0xD800..0xE000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    /// The first digit or dot has been read.
    fn number_or_duration(&mut self) -> Result<(), String> {
        self.at = self.start;
        if self.scan_number() {
            self.emit(TokenKind::Number);
            return Ok(());
        }
        if self.scan_units() {
            self.emit(TokenKind::Duration);
            return Ok(());
        }
        let wrong = super::literal::quote(&self.text[self.start..self.at]);
        Err(format!("bad number or duration syntax: {wrong}"))
    }

    /// Reads as far as a number reaches; false where it is malformed or goes on with a letter.
    fn scan_number(&mut self) -> bool {
        let rest = &self.text[self.at..];
        if rest.starts_with("0x") || rest.starts_with("0X") {
            self.at += 2;
            self.eat_while(|c| c.is_ascii_hexdigit() || c == '_');
            return !self.peek().is_some_and(|c| is_alphanumeric(c) || c == '.');
        }
        let (mut dot, mut exponent) = (false, false);
        while let Some(c) = self.peek() {
            match c {
                '0'..='9' => self.at += 1,
                '.' if !dot && !exponent => {
                    self.at += 1;
                    dot = true;
                    if matches!(self.peek(), Some('.' | '_')) {
                        self.at += 1;
                        return false;
                    }
                }
                'e' | 'E' if !exponent => {
                    self.at += 1;
                    exponent = true;
                    let _sign = self.eat('+') || self.eat('-');
                    match self.peek() {
                        None => return false,
                        Some(c @ ('.' | '_' | 'e' | 'E')) => {
                            self.at += c.len_utf8();
                            return false;
                        }
                        Some(_) => {}
                    }
                }
                '_' => {
                    self.at += 1;
                    match self.peek() {
                        None => return false,
                        Some(c @ ('.' | '_' | 'e' | 'E')) => {
                            self.at += c.len_utf8();
                            return false;
                        }
                        Some(_) => {}
                    }
                }
                '.' | 'e' | 'E' => {
                    self.at += 1;
                    return false;
                }
                _ => break,
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    /// The units after a number, and further numbers with units; false where other letters follow.
    fn scan_units(&mut self) -> bool {
        if !self.eat_any("smhdwy") {
            return false;
        }
        self.eat('s');
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.eat_while(|c| c.is_ascii_digit());
            if !self.eat_any("smhdw") {
                return false;
            }
            self.eat('s');
        }
        match self.peek() {
            Some(c) if is_alphanumeric(c) => {
                self.at += 1;
                false
            }
            _ => true,
        }
    }

    fn emit(&mut self, kind: TokenKind) {
        self.tokens.push(Token { kind, span: Span { start: self.start, end: self.at } });
    }

    fn emit_two(&mut self, op: BinaryOp) {
        self.at += 1;
        self.emit(TokenKind::Op(op));
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn eat_any(&mut self, set: &str) -> bool {
        set.chars().any(|c| self.eat(c))
    }

    fn eat_while(&mut self, accept: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(|c| !accept(c)).unwrap_or(rest.len());
    }
}

fn is_alpha(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A character as Go's `%q` shows it; the end of input is the replacement character there.
fn show(c: Option<char>) -> String {
    let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        _ => {
            let quoted = super::literal::quote(c.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

fn show_code_point(c: char) -> String {
    format!("U+{:04X} {}", u32::from(c), show(Some(c)))
}
