//! A bank in a store: transfers between accounts, a receipt for each, and an audit at any moment.

use std::fmt;
use std::path::Path;

use sombra::{CommitError, Db, Keyspace, Options, Routing, Transaction, TransactionError};
use sombra_runtime::Runtime;

use crate::AnyError;

/// Transfers of one clerk.
const TRANSFERS: u64 = 50;
const ACCOUNTS: u64 = 48;
const EACH: u64 = 1_000;

/// What one clerk, or many, did.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub transfers: u64,
    /// Of these, the ones whose two accounts are on different shards.
    pub over_shards: u64,
    /// Conflicts that were answered by running the transaction again by hand.
    pub conflicts: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.transfers += other.transfers;
        self.over_shards += other.over_shards;
        self.conflicts += other.conflicts;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { transfers, over_shards, conflicts } = self;
        write!(
            f,
            "{transfers} transfers, {over_shards} over two shards, {conflicts} conflicts seen"
        )
    }
}

#[derive(Clone)]
pub struct Bank {
    db: Db,
    accounts: Keyspace,
    receipts: Keyspace,
}

/// One unit from one account to another, and the key of its receipt.
#[derive(Clone, Copy)]
struct Transfer {
    from: [u8; 8],
    to: [u8; 8],
    receipt: [u8; 16],
}

impl Bank {
    /// Makes the store and gives each account its money.
    ///
    /// # Errors
    /// What the store said.
    pub async fn found(runtime: &Runtime, dir: &Path) -> Result<Bank, AnyError> {
        let db = Db::open(runtime, dir, Options::default()).await?;
        let accounts = db.create_keyspace("accounts", Routing::hash(8)).await?;
        let receipts = db.create_keyspace("receipts", Routing::range()).await?;
        let money = db.begin()?;
        for account in 0..ACCOUNTS {
            money.put(&accounts, account.to_be_bytes(), EACH.to_be_bytes().to_vec())?;
        }
        money.commit().await?;
        Ok(Bank { db, accounts, receipts })
    }

    /// Opens the store that [`Bank::found`] made.
    ///
    /// # Errors
    /// What the store said, or that a keyspace is not there.
    pub async fn reopen(runtime: &Runtime, dir: &Path) -> Result<Bank, AnyError> {
        let db = Db::open(runtime, dir, Options::default()).await?;
        let accounts = db.keyspace("accounts").ok_or("the accounts are gone")?;
        let receipts = db.keyspace("receipts").ok_or("the receipts are gone")?;
        Ok(Bank { db, accounts, receipts })
    }

    /// Makes the transfers of one clerk, in turns by `run` and by `begin` and `commit`.
    ///
    /// # Errors
    /// What the store said.
    pub async fn clerk(&self, clerk: u64) -> Result<Tally, TransactionError> {
        let mut tally = Tally::default();
        for step in 0..TRANSFERS {
            let from = (clerk * 31 + step * 17) % ACCOUNTS;
            let to = (from + 1 + step % (ACCOUNTS - 1)) % ACCOUNTS;
            let mut receipt = [0; 16];
            receipt[..8].copy_from_slice(&clerk.to_be_bytes());
            receipt[8..].copy_from_slice(&step.to_be_bytes());
            let transfer = Transfer { from: from.to_be_bytes(), to: to.to_be_bytes(), receipt };
            if step % 2 == 0 {
                self.db.run(|tx| async move { self.enter(&tx, transfer).await }).await?;
            } else {
                tally.conflicts += self.by_hand(transfer).await?;
            }
            let shard = |account| self.db.shard_of(&self.accounts, account);
            tally.transfers += 1;
            tally.over_shards += u64::from(shard(transfer.from) != shard(transfer.to));
        }
        Ok(tally)
    }

    /// Returns how often the commit was refused for a conflict before it was made.
    async fn by_hand(&self, transfer: Transfer) -> Result<u64, TransactionError> {
        let mut conflicts = 0;
        loop {
            let tx = self.db.begin()?;
            self.enter(&tx, transfer).await?;
            match tx.commit().await {
                Ok(_) => return Ok(conflicts),
                Err(CommitError::Conflict { .. }) => conflicts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn enter(&self, tx: &Transaction, transfer: Transfer) -> Result<(), TransactionError> {
        let source = number(tx.get(&self.accounts, transfer.from).await?.as_deref());
        let target = number(tx.get(&self.accounts, transfer.to).await?.as_deref());
        let source = source.checked_sub(1).ok_or_else(|| TransactionError::abort("overdrawn"))?;
        tx.put(&self.accounts, transfer.from, source.to_be_bytes().to_vec())?;
        tx.put(&self.accounts, transfer.to, (target + 1).to_be_bytes().to_vec())?;
        tx.put(&self.receipts, transfer.receipt, "paid")?;
        Ok(())
    }

    /// Counts the money, which every moment shows whole, and returns the number of receipts.
    ///
    /// # Errors
    /// What the store said, or that money is missing or too much.
    pub async fn audit(&self) -> Result<u64, AnyError> {
        let view = self.db.snapshot()?;
        let rows = view.scan(&self.accounts, ..).collect().await?;
        let found = rows.iter().map(|(_, value)| number(Some(value))).sum::<u64>();
        let expected = Bank::money();
        if found != expected {
            return Err(format!("expected {expected} units, found {found}").into());
        }
        Ok(view.scan(&self.receipts, ..).keys().collect().await?.len() as u64)
    }

    /// Units in all accounts together, at any moment.
    #[must_use]
    pub const fn money() -> u64 {
        ACCOUNTS * EACH
    }

    /// Audits, then closes the store.
    ///
    /// # Errors
    /// As [`Bank::audit`], or that not exactly the receipts of `tally` are there.
    pub async fn close(self, tally: Tally) -> Result<(), AnyError> {
        let receipts = self.audit().await?;
        self.db.close().await?;
        if receipts == tally.transfers {
            return Ok(());
        }
        Err(format!("{} transfers were acknowledged, {receipts} found", tally.transfers).into())
    }
}

fn number(value: Option<&[u8]>) -> u64 {
    value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}
