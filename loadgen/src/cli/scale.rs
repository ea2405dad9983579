//! Options of runs that several processes make together.

use std::path::PathBuf;

use clap::Args;

use crate::agent::Token;

/// Of a run's leader.
#[derive(Args, Debug)]
#[command(next_help_heading = "Scale")]
pub struct Scale {
    /// Let these agents (host:port) make the run together, each with its share of connections, rate and requests
    #[arg(long, value_delimiter = ',', requires = "token_file")]
    pub agents: Vec<String>,
    /// File with the secret that leader and agents share
    #[arg(long, value_name = "FILE", requires = "agents")]
    token_file: Option<PathBuf>,
}

impl Scale {
    /// The secret, if there are agents.
    pub fn token(&self) -> Result<Option<Token>, String> {
        self.token_file.as_deref().map(Token::read).transpose()
    }
}

#[derive(Args, Debug)]
pub struct AgentArgs {
    /// Address and port to wait for leaders on, e.g. 10.0.0.2:7380
    #[arg(long, value_name = "ADDR")]
    pub listen: String,
    /// File with the secret that leader and agents share
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

impl AgentArgs {
    pub fn token(&self) -> Result<Token, String> {
        Token::read(&self.token_file)
    }
}
