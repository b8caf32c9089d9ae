"""An authority of one test and a certificate by it for localhost and a zone of names, in the directory that is named: ca.pem, cert.pem, key.pem."""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(name, key, issuer, issuer_key, extensions):
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(hours=1))
        .not_valid_after(NOW + datetime.timedelta(days=2))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


directory = pathlib.Path(sys.argv[1])
authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
authority = [
    (x509.BasicConstraints(ca=True, path_length=0), True),
    (x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), False),
]
names = x509.SubjectAlternativeName(
    [x509.DNSName("localhost"), x509.DNSName("*.tabs.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
)
server = [
    (names, False),
    (x509.BasicConstraints(ca=False, path_length=None), True),
    (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False),
]
(directory / "ca.pem").write_bytes(certificate("test authority", authority_key, "test authority", authority_key, authority))
(directory / "cert.pem").write_bytes(certificate("localhost", key, "test authority", authority_key, server))
(directory / "key.pem").write_bytes(
    key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
)
