//! What each `sslmode` verifies, on rustls with the ring provider.
//!
//! | mode | chain | host name |
//! |---|---|---|
//! | allow, prefer | no | no |
//! | require | only when a root certificate is named, as in libpq | no |
//! | verify-ca | yes | no |
//! | verify-full | yes | yes |

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::target::{SslMode, Target};

/// The TLS connector that `target` asks for.
///
/// # Errors
/// A sentence that names the file that cannot be used.
pub fn connector(target: &Target) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(target, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &target.client_certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("the key {} cannot be used: {error}", key.display()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("the certificate {} cannot be used: {error}", certificate.display()))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// The certificates in a PEM file.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(list) if list.is_empty() => Err(format!("there is no certificate in {}", file.display())),
        Ok(list) => Ok(list),
        Err(error) => Err(format!("the certificates in {} cannot be read: {error}", file.display())),
    }
}

/// How much of a server's certificate is believed.
#[derive(Debug)]
enum Trust {
    /// Anything: encryption without identity.
    Anybody,
    /// A chain that ends in one of the roots.
    Chain { inner: Arc<WebPkiServerVerifier>, roots: Vec<CertificateDer<'static>>, check_name: bool },
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(target: &Target, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let algorithms = provider.signature_verification_algorithms;
        // libpq: "if a root CA file exists, the behavior of sslmode=require will be the same as verify-ca".
        let verifies = target.sslmode >= SslMode::VerifyCa || (target.sslmode == SslMode::Require && target.sslrootcert.is_some());
        if !verifies {
            return Ok(Self { trust: Trust::Anybody, algorithms });
        }
        let roots = match target.sslrootcert.as_deref() {
            Some(file) if file != Path::new("system") => certificates(file)?,
            _ => {
                let native = rustls_native_certs::load_native_certs();
                if native.certs.is_empty() {
                    return Err("this machine has no root certificates; name a file with sslrootcert".to_owned());
                }
                native.certs
            }
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
            .build()
            .map_err(|error| format!("the root certificates cannot be used: {error}"))?;
        let check_name = target.sslmode == SslMode::VerifyFull;
        Ok(Self { trust: Trust::Chain { inner, roots, check_name }, algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Chain { inner, roots, check_name } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain is verified before the name, so this says that only the name is wrong.
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }))
                if !check_name =>
            {
                Ok(ServerCertVerified::assertion())
            }
            // A self-signed certificate made by `openssl req -x509` is its own CA, which webpki refuses and OpenSSL
            // (so libpq) accepts when it is itself the trusted root. Its validity was checked before.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if roots.contains(&end_entity.clone().into_owned()) => {
                if *check_name {
                    rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
