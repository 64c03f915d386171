//! The facets about the inside of replicas.

use async_trait::async_trait;
use futures_util::StreamExt;
use unmoor_core::Result;
use unmoor_core::backend::{
    FileStat, Files, Ownership, ProcessEntry, Processes, Signals, Stats, Stream, Usage,
};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::signal::Signal;

use super::LocalBackend;
use crate::copy;
use crate::engine::Runtime;
use crate::error::LocalError;

#[async_trait]
impl Signals for LocalBackend {
    async fn signal(&self, replica: &ReplicaId, signal: Signal) -> Result<()> {
        let id = replica.clone();
        let send = move |runtime: &Runtime| runtime.signal_replica(&id, signal);
        let runtime = self.place.made().await?;
        Ok(runtime.block("sends a signal", send).await?)
    }
}

#[async_trait]
impl Stats for LocalBackend {
    async fn usage(&self, selector: &Selector) -> Result<Vec<Usage>> {
        let selector = selector.clone();
        let count = move |runtime: &Runtime| runtime.usage(&selector);
        match self.place.there().await? {
            Some(runtime) => Ok(runtime.block("counts what is used", count).await?),
            None => Ok(Vec::new()),
        }
    }
}

#[async_trait]
impl Processes for LocalBackend {
    async fn processes(&self, replica: &ReplicaId) -> Result<Vec<ProcessEntry>> {
        let id = replica.clone();
        let list = move |runtime: &Runtime| runtime.processes(&id);
        let runtime = self.place.made().await?;
        Ok(runtime.block("lists processes", list).await?)
    }
}

impl LocalBackend {
    async fn view(&self, replica: &ReplicaId) -> Result<copy::View, LocalError> {
        let id = replica.clone();
        let view = move |runtime: &Runtime| runtime.view(&id);
        let runtime = self.place.made().await?;
        runtime.block("opens a replica's files", view).await
    }
}

#[async_trait]
impl Files for LocalBackend {
    async fn stat(&self, replica: &ReplicaId, path: &str) -> Result<FileStat> {
        let (view, path) = (self.view(replica).await?, path.to_owned());
        let stat = copy::as_root_of(view.base(), move || view.stat(&path));
        Ok(stat
            .await
            .map_err(|_| LocalError::Lost("looks at a file"))??)
    }

    async fn read(&self, replica: &ReplicaId, path: &str) -> Result<Stream<Vec<u8>>> {
        // A mistake in the path is told at once, not by the stream.
        self.stat(replica, path).await?;
        let (view, path) = (self.view(replica).await?, path.to_owned());
        let (sink, mut pieces) = copy::sink();
        let end = copy::as_root_of(view.base(), move || view.pack(&path, sink));
        let mut end = Some(end);
        let stream = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
        let last = futures_util::stream::once(async move {
            match end.take() {
                None => Ok(Vec::new()),
                Some(end) => match end.await {
                    Ok(Ok(())) => Ok(Vec::new()),
                    Ok(Err(error)) => Err(error.into()),
                    Err(_) => Err(LocalError::Lost("archives files").into()),
                },
            }
        });
        Ok(stream.map(Ok).chain(last).boxed())
    }

    async fn write(
        &self,
        replica: &ReplicaId,
        directory: &str,
        mut archive: Stream<Vec<u8>>,
        owner: Ownership,
    ) -> Result<()> {
        let (view, directory) = (self.view(replica).await?, directory.to_owned());
        let (pieces, source) = copy::source();
        let mut done =
            copy::as_root_of(view.base(), move || view.unpack(&directory, source, owner));
        let feed = async move {
            while let Some(piece) = archive.next().await {
                // An end that is not the archive's own is a broken archive to the other side.
                if pieces.send(piece?).await.is_err() {
                    break;
                }
            }
            Ok::<(), unmoor_core::Error>(())
        };
        let lost = |_| LocalError::Lost("unpacks files");
        tokio::select! {
            fed = feed => fed?,
            // It may be refused before all of the archive has come.
            early = &mut done => return Ok(early.map_err(lost)??),
        }
        Ok(done.await.map_err(lost)??)
    }
}
