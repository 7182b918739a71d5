#!/bin/sh
# Installs the Debian packages that building, testing and measuring emqc need.
#
#   tools/install-deps.sh [--check] GROUP...        GROUP: build, test, bench, coverage
#
# Packages that are there already cost one dpkg-query, so this is quick and needs no network then. With --check
# nothing is installed: what is missing is named and the exit code is 1. As a user, sudo is used. Services that come with a
# package (mosquitto's, haproxy's, nginx's) are not started.
set -eu

# libc6-dev is only recommended by gcc, and recommended packages are left out below.
build_packages="meson ninja-build gcc libc6-dev pkg-config python3 ccache
    libuv1-dev liburcu-dev libjemalloc-dev libxxhash-dev libssl-dev openssl
    libhttp-parser-dev zlib1g-dev librocksdb-dev libjansson-dev libpcre2-dev
    libargon2-dev libcrypt-dev libcurl4-openssl-dev"
test_packages="libcmocka-dev clang clang-format clang-tidy libclang-rt-dev
    python3-pytest python3-pytest-xdist python3-pytest-timeout python3-paho-mqtt
    mosquitto mosquitto-clients chromium
    haproxy nginx libnginx-mod-stream"
bench_packages="mosquitto mosquitto-clients nginx"
coverage_packages="libcmocka-dev gcovr"

here=$(cd "$(dirname "$0")/.." && pwd)
check_only=no
want=
with_node=no

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "install-deps: $*"
    exit 1
}

for argument in "$@"; do
    case $argument in
    --check) check_only=yes ;;
    build) want="$want $build_packages" ;;
    test) want="$want $test_packages"; with_node=yes ;;
    bench) want="$want $bench_packages" ;;
    coverage) want="$want $coverage_packages" ;;
    *) fail "unknown argument '$argument' (known: --check, build, test, bench, coverage)" ;;
    esac
done
[ -n "$want" ] || fail "name at least one group: build, test, bench, coverage"

if ! command -v dpkg-query >/dev/null 2>&1; then
    # Not a Debian: whoever builds here brings the libraries; Meson says what it does not find.
    [ $check_only = yes ] && exit 0
    say "install-deps: this is not Debian; install the counterparts of these packages by hand:"
    say "   " $want
    exit 0
fi

# Node.js may come from elsewhere than Debian (whose npm would then conflict): the commands count, not the packages.
# The broker does not need it, only the tests with MQTT.js do.
if [ $with_node = yes ]; then
    command -v node >/dev/null 2>&1 || want="$want nodejs"
    command -v npm >/dev/null 2>&1 || want="$want npm"
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $want 2>/dev/null | sed -n 's/^installed //p' || true)
missing=
for package in $want; do
    printf '%s\n' "$installed" | grep -qx -- "$package" && continue
    case " $missing " in *" $package "*) continue ;; esac
    missing="$missing $package"
done
missing=${missing# }

policy=/usr/sbin/policy-rc.d
policy_is_ours=no
sudo=

# Debian starts a service as soon as its package is installed; mosquitto would then hold port 1883, nginx port 80.
forbid_services() {
    [ -e $policy ] && return
    say "install-deps: keeping newly installed services from starting ($policy, removed afterwards)"
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod 755 $policy
}

restore_services() {
    [ $policy_is_ours = no ] || $sudo rm -f $policy
    policy_is_ours=no
}

apt() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

if [ -n "$missing" ]; then
    if [ $check_only = yes ]; then
        say "install-deps: missing: $missing"
        say "install-deps: \`make deps\` installs them"
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 ||
            fail "these packages are missing and there is no sudo here; as root: apt-get install --no-install-recommends $missing"
        sudo=sudo
    fi
    say "install-deps: installing $missing"
    trap restore_services EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    apt update || say "install-deps: the package lists could not be renewed, trying with those that are here"
    case " $missing " in *" mosquitto "* | *" haproxy "* | *" nginx "*) forbid_services ;; esac
    # shellcheck disable=SC2086 # one word per package
    apt install -y --no-install-recommends $missing || fail "apt-get could not install: $missing"
    restore_services
fi

# The JavaScript client of the integration tests, exactly as its lock file says.
node_dir=$here/tests/integration
if [ $with_node = yes ] && [ -f "$node_dir/package-lock.json" ]; then
    if [ ! "$node_dir/node_modules/.package-lock.json" -nt "$node_dir/package-lock.json" ]; then
        if [ $check_only = yes ]; then
            say "install-deps: missing: the npm packages of tests/integration; \`make deps-test\` installs them"
            exit 1
        fi
        say "install-deps: installing the npm packages of tests/integration"
        (cd "$node_dir" && npm ci --no-audit --no-fund --ignore-scripts >&2) || fail "npm ci failed in $node_dir"
        touch "$node_dir/node_modules/.package-lock.json"
    fi
fi
