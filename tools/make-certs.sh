#!/bin/sh
# Makes certificates for trying out TLS: a CA, and a server's and a client's certificate from it, with fresh keys.
#
#   tools/make-certs.sh [--rsa] DIR
#
#   cacert.pem                         the CA; its key is thrown away, so nobody can issue further certificates with it
#   cert.pem, key.pem                  the server, for localhost, 127.0.0.1, ::1 and this machine's name
#   client-cert.pem, client-key.pem    a client (CN "emqc trial client")
#
# They are no secret worth the name: whoever can read DIR has them. The organization in their subjects says so, and the broker
# warns when it starts with them. If one of the five files is there, nothing is made: it may be yours.
#
# Keys are ECDSA P-256: a handshake costs the server a fraction of one with RSA-2048 (compare `openssl speed ecdsap256 rsa2048`),
# and every TLS 1.2 library of the last decade knows it, browsers and Java too. --rsa makes RSA-2048 for devices that do not.
set -eu

organization='emqc trial certificates, not for production'
days=825 # clients of Apple refuse server certificates that are valid for longer
files='cacert.pem cert.pem key.pem client-cert.pem client-key.pem'
key_options='-algorithm EC -pkeyopt ec_paramgen_curve:P-256'
server_usage=digitalSignature

fail() {
    printf 'make-certs: %s\n' "$*" >&2
    exit 1
}

if [ "${1-}" = --rsa ]; then
    key_options='-algorithm RSA -pkeyopt rsa_keygen_bits:2048'
    server_usage=digitalSignature,keyEncipherment # the latter is for ciphers without (EC)DHE
    shift
fi
case $# in
1) dir=$1 ;;
*) fail 'usage: make-certs.sh [--rsa] DIR' ;;
esac
case $dir in
-*) fail "unknown option $dir (usage: make-certs.sh [--rsa] DIR)" ;;
esac

found=
absent=
for file in $files; do
    if [ -e "$dir/$file" ] || [ -L "$dir/$file" ]; then found="$found $file"; else absent="$absent $file"; fi
done
if [ -n "$found" ]; then
    [ -z "$absent" ] || printf 'make-certs: %s has%s: nothing is made\n' "$dir" "$found" >&2
    exit 0
fi

command -v openssl >/dev/null 2>&1 || fail 'the command openssl is missing (Debian: apt-get install openssl)'
umask 077
[ -d "$dir" ] || (umask 022 && mkdir -p "$dir") || fail "cannot make the folder $dir"
dir=$(cd "$dir" && pwd) || fail "cannot enter $dir"
work=$(mktemp -d "$dir/.make-certs.XXXXXX") || fail "cannot write to $dir"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

run_openssl() {
    openssl "$@" >output 2>&1 || {
        cat output >&2
        fail "openssl $1 failed"
    }
}

# NAME CERTIFICATE KEY EXTENSIONS, the CA's with its own key.
issue() {
    # shellcheck disable=SC2086 # one word per option, here and below
    run_openssl genpkey $key_options -out "$3"
    run_openssl req -new -config request.conf -key "$3" -subj "/O=$organization/CN=$1" -out request.pem
    printf '%s\n' "$4" 'subjectKeyIdentifier = hash' >extensions.conf
    signer="-signkey $3"
    if [ "$2" != cacert.pem ]; then
        printf 'authorityKeyIdentifier = keyid\n' >>extensions.conf
        signer='-CA cacert.pem -CAkey ca-key.pem'
    fi
    # A serial number of its own each: software refuses two certificates of an issuer with the same.
    # shellcheck disable=SC2086
    run_openssl x509 -req -sha256 -days $days -set_serial "0x$(openssl rand -hex 16 | sed 's/^./4/')" \
        -in request.pem $signer -extfile extensions.conf -out "$2"
}

names='DNS:localhost, IP:127.0.0.1, IP:::1'
host=$(uname -n)
case $host in
'' | localhost | *[!A-Za-z0-9._-]*) ;;
*) names="$names, DNS:$host" ;;
esac

# The system's openssl.cnf is not used: what it adds to requests differs from machine to machine.
cd "$work"
printf '[req]\ndistinguished_name = name\n[name]\n' >request.conf
issue 'emqc trial CA' cacert.pem ca-key.pem 'basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign'
issue 'emqc trial server' cert.pem key.pem "basicConstraints = critical, CA:FALSE
keyUsage = critical, $server_usage
extendedKeyUsage = serverAuth
subjectAltName = $names"
issue 'emqc trial client' client-cert.pem client-key.pem 'basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth'

# Keys stay readable for their owner alone (umask above); certificates are for everybody.
chmod 644 cacert.pem cert.pem client-cert.pem
for file in $files; do
    # ln refuses a name that somebody else made meanwhile.
    ln "$file" "$dir/$file" || fail "$dir/$file cannot be made"
done
printf 'make-certs: %s has fresh certificates for trying out (not for production)\n' "$dir"
