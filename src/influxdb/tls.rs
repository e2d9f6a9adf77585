//! Why a server is not trusted, or does not trust us: each cause has another remedy.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why there is no TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsCause {
    /// A certificate or a key that the list names cannot be used.
    File,
    /// This host has no certificates of authorities.
    NoAuthorities,
    /// Nobody who is trusted has signed the server's certificate.
    UnknownIssuer,
    /// The server shows the certificate of an authority as its own, as `openssl req -x509` makes them.
    AuthorityAsServer,
    /// The certificate is for another name.
    OtherName,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate was revoked, or has another fault of its own.
    BadCertificate,
    /// The server answers in plain HTTP, or in nothing that is TLS.
    NotTls,
    /// There is no version of TLS, or no cipher, that both have.
    NothingInCommon,
    /// The server does not accept our certificate, or wants one.
    ClientCertificate,
    /// Something else.
    Other,
}

impl TlsCause {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            _ => Self::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            // Its type is that of a crate which rustls does not show; the text is the name of the variant.
            CertificateError::Other(error) if error.0.to_string() == "CaUsedAsEndEntity" => {
                Self::AuthorityAsServer
            }
            _ => Self::BadCertificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => Self::NothingInCommon,
            AlertDescription::UnrecognisedName => Self::OtherName,
            AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Self::ClientCertificate,
            _ => Self::Other,
        }
    }

    /// What to do about it. `ca_file`: how the list names the key.
    pub(super) fn hint(self, ca_file: &str, url: &str) -> Option<String> {
        Some(match self {
            Self::File => "check the file: PEM text that this user may read, a certificate and its own key".to_owned(),
            Self::NoAuthorities => format!("install the package ca-certificates, or name a certificate in `{ca_file}`"),
            Self::UnknownIssuer => {
                format!("name the certificate that signed the server's in `{ca_file}`; for a self-signed one, itself")
            }
            Self::AuthorityAsServer => format!(
                "the server uses the certificate of an authority as its own: make one for it with \
                 `basicConstraints = CA:FALSE` (openssl req -x509 -addext), and name that, or what signed it, in `{ca_file}`"
            ),
            Self::OtherName => format!("write `{url}` with a host name that the certificate is for, or make one for this name"),
            Self::Expired => "renew the server's certificate; if it is still valid, set this host's clock".to_owned(),
            Self::NotYetValid => "set this host's clock; if it is right, the server's certificate is for later".to_owned(),
            Self::BadCertificate => "replace the server's certificate".to_owned(),
            Self::NotTls => format!("the server does not use TLS at this port: write http:// in `{url}`, or the server's TLS port"),
            Self::NothingInCommon => {
                "the server must allow TLS 1.2 or 1.3 with a current cipher: change that there, or in the proxy before it"
                    .to_owned()
            }
            Self::ClientCertificate => {
                "name a certificate that the server accepts, and its key, in `client_certificate` and `client_key`".to_owned()
            }
            Self::Other => return None,
        })
    }
}
