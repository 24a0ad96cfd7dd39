//! As much of S3 as s5cmd and rclone need to upload a folder: it takes each object whole, writes it, and gives it its name by a rename,
//! as the sandbox does with a document. It looks at no signature.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// What a listing of the empty bucket says.
const EMPTY: &str = r#"<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"#;

/// The server, until this is dropped.
pub(crate) struct S3 {
    pub(crate) address: SocketAddr,
    dir: Arc<Bucket>,
    _runtime: Runtime,
}

/// Where the objects lie.
struct Bucket {
    dir: PathBuf,
    arrived: AtomicUsize,
}

impl S3 {
    /// Objects come to lie in this folder.
    pub(crate) fn start(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let bucket = Arc::new(Bucket { dir: dir.to_owned(), arrived: AtomicUsize::new(0) });
        runtime.spawn(accept(listener, Arc::clone(&bucket)));
        Self { address, dir: bucket, _runtime: runtime }
    }

    /// How many objects have arrived.
    pub(crate) fn objects(&self) -> usize {
        self.dir.arrived.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, bucket: Arc<Bucket>) {
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).unwrap();
        let bucket = Arc::clone(&bucket);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&bucket), request));
            // In whatever way the client ends the connection.
            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await.ok();
        });
    }
}

async fn answer(bucket: Arc<Bucket>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match *request.method() {
        Method::PUT => {
            bucket.put(request).await;
            ""
        }
        Method::GET => EMPTY,
        _ => "",
    };
    let answer =
        Response::builder().status(StatusCode::OK).header("etag", "\"-\"").header("x-amz-bucket-region", "us-east-1");
    Ok(answer.header("content-type", "application/xml").body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
}

impl Bucket {
    async fn put(&self, request: Request<Incoming>) {
        let is_chunked = request.headers().get("content-encoding").is_some_and(|value| value == "aws-chunked");
        assert!(!is_chunked, "objects are expected as they are");
        let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let mut body = request.into_body();
        let number = self.arrived.fetch_add(1, Ordering::Relaxed);
        let incoming = self.dir.join(format!(".incoming-{number}"));
        let mut file = std::fs::File::create(&incoming).unwrap();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.unwrap().into_data() {
                file.write_all(&data).unwrap();
            }
        }
        std::fs::rename(incoming, self.dir.join(name)).unwrap();
    }
}
