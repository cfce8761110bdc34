// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/bad_inputs.h"

#include <utility>

namespace sluice::testing_support {
namespace {

// The message for an unusable value; most cases have one.
BadInput Value(std::vector<std::string> args, const std::string& flag, const std::string& value,
               const std::string& rest) {
  return {std::move(args), {}, "cannot use \"" + value + "\" for --" + flag + ": " + rest};
}

BadInput CommandLine(std::vector<std::string> args, const std::string& rest) {
  return {std::move(args), {}, "cannot understand the command line: " + rest};
}

BadInput Variable(const std::string& name, const std::string& value, const std::string& rest) {
  return {{},
          {name + "=" + value},
          "cannot use \"" + value + "\" for " + name + " in the environment: " + rest};
}

const std::string kPortNumber = "expected a number from 1 to 65535";
const std::string kPort = "expected a port from 1 to 65535 or a range such as 8000-8999";
const std::string kRange = "expected an address or a range such as 10.0.0.0/8 or fd00::/8";
const std::string kId = "expected a number from 0 to 4294967294";
const std::string kUser = "expected a number, or the name of a user in /etc/passwd";
const std::string kInterface =
    "expected an interface name of up to 15 characters, without quotes, such as eth0 or eth+";
const std::string kList = "expected a list without an empty item between commas";
const std::string kDuration = "expected a duration such as 500ms, 1.5s, 1m30s or 1h, at most 24h";
const std::string kLevel =
    "expected debug, info, warn, error, fatal or none, or a list such as default:info";
const std::string kNeither =
    " is neither a flag's value nor a command; commands are diff, doctor, explain, graph, "
    "show, trace and verify; a flag's value follows it";
const std::string kOwnId = "expected ids other than the proxy's, which is never captured";

std::vector<BadInput> Ports() {
  return {
      Value({"-p", "0"}, "envoy-port", "0", kPortNumber),
      Value({"-p", "65536"}, "envoy-port", "65536", kPortNumber),
      Value({"-p", "http"}, "envoy-port", "http", kPortNumber),
      Value({"--envoy-port="}, "envoy-port", "", kPortNumber),
      Value({"-p", "15001\n"}, "envoy-port", "15001\n", kPortNumber),
      Value({"-p", "+15001"}, "envoy-port", "+15001", kPortNumber),
      Value({"-p", "15006"}, "inbound-capture-port", "15006",
            "expected another port than --envoy-port"),
      Value({"-b", "80-"}, "istio-inbound-ports", "80-", kPort),
      Value({"-b", "90-80"}, "istio-inbound-ports", "90-80",
            "expected a range whose first port is not above its last"),
      Value({"-b", "80;81"}, "istio-inbound-ports", "80;81", kPort),
      Value({"-b", "*,80"}, "istio-inbound-ports", "*,80", "\"*\" is wrong: " + kPort),
      Value({"-b", "80,,81"}, "istio-inbound-ports", "80,,81", kList),
      Value({"-d", "15020,70000"}, "istio-local-exclude-ports", "15020,70000",
            "\"70000\" is wrong: " + kPort),
      Value({"-q", "*"}, "istio-outbound-ports", "*", kPort),
      Value({"-o", "80:90"}, "istio-local-outbound-ports-exclude", "80:90", kPort),
      Value({"--iptables-probe-port", "0"}, "iptables-probe-port", "0", kPortNumber),
  };
}

std::vector<BadInput> RangesAndIds() {
  return {
      Value({"-i", "10.0.0.0/33"}, "istio-service-cidr", "10.0.0.0/33",
            "expected behind the '/' a number from 0 to 32"),
      Value({"-i", "fd00::/129"}, "istio-service-cidr", "fd00::/129",
            "expected behind the '/' a number from 0 to 128"),
      Value({"-i", "10.0.0"}, "istio-service-cidr", "10.0.0", kRange),
      Value({"-i", "10.0.0.0/8,*"}, "istio-service-cidr", "10.0.0.0/8,*",
            "\"*\" is wrong: " + kRange),
      Value({"-x", "*"}, "istio-service-exclude-cidr", "*",
            "expected ranges; to capture no outbound traffic leave --istio-service-cidr empty"),
      Value({"-x", ",10.0.0.0/8"}, "istio-service-exclude-cidr", ",10.0.0.0/8", kList),
      Value({"--istio-inbound-exclude-cidr", "1.2.3"}, "istio-inbound-exclude-cidr", "1.2.3",
            kRange),
      Value({"-m", "TPROXY", "-b", "*", "--capture-listening"}, "capture-listening", "true",
            "expected false in TPROXY mode, which can hand over a packet or drop it, but refuses "
            "none; "
            "or --istio-inbound-interception-mode=REDIRECT"),
      Value({"--istio-outbound-ipv4-loopback-cidr", "10.0.0.0/8"},
            "istio-outbound-ipv4-loopback-cidr", "10.0.0.0/8",
            "expected a range inside 127.0.0.0/8"),
      Value({"-u", "-1"}, "proxy-uid", "-1", kUser),
      Value({"-u", "4294967295"}, "proxy-uid", "4294967295", kId),
      Value({"-u", "no-such-user"}, "proxy-uid", "no-such-user", kUser),
      Value({"-g", "1337,1.5"}, "proxy-gid", "1337,1.5", "\"1.5\" is wrong: " + kId),
      Value({"--exclude-uids", "1337"}, "exclude-uids", "1337", kOwnId),
      Value({"-g", "202", "--exclude-gids", "201,202"}, "exclude-gids", "201,202",
            "\"202\" is wrong: " + kOwnId),
      Value({"--istio-outbound-owner-groups", "no-such-group"}, "istio-outbound-owner-groups",
            "no-such-group", "expected a number, or the name of a group in /etc/group"),
      Value({"--istio-outbound-owner-groups", "1", "--istio-outbound-owner-groups-exclude", "2"},
            "istio-outbound-owner-groups-exclude", "2",
            "expected nothing, since --istio-outbound-owner-groups is given too"),
  };
}

std::vector<BadInput> Others() {
  return {
      CommandLine({"--no-such-flag"}, "there is no flag --no-such-flag; see --help"),
      CommandLine({"-Q"}, "there is no flag -Q; see --help"),
      CommandLine({"-p"}, "--envoy-port has no value; give an empty value as --flag=; see --help"),
      CommandLine({"apply"}, "\"apply\"" + kNeither),
      CommandLine({"-n", "extra"}, "\"extra\"" + kNeither),
      CommandLine({"diff", "show"}, "\"show\"" + kNeither),
      Value({"-m", "NAT"}, "istio-inbound-interception-mode", "NAT", "expected REDIRECT or TPROXY"),
      Value({"-t", "0"}, "istio-inbound-tproxy-mark", "0",
            "expected a number from 1 to 4294967295"),
      Value({"-t", "1338"}, "istio-inbound-tproxy-mark", "1338",
            "expected another mark than 1338, which marks outbound connections"),
      Value({"-r", "254"}, "istio-inbound-tproxy-route-table", "254",
            "expected a routing table of your own, not 253, 254 or 255"),
      Value({"-c", "eth0/1"}, "istio-exclude-interfaces", "eth0/1", kInterface),
      Value({"-c", "eth0,sixteen-letters-"}, "istio-exclude-interfaces", "eth0,sixteen-letters-",
            "\"sixteen-letters-\" is wrong: " + kInterface),
      Value({"-c", "a\"b"}, "istio-exclude-interfaces", "a\"b", kInterface),
      Value({"-c", "a'b"}, "istio-exclude-interfaces", "a'b", kInterface),
      Value({"-k", "a\\b"}, "kube-virt-interfaces", "a\\b", kInterface),
      Value({"-k", "+"}, "kube-virt-interfaces", "+", kInterface),
      Value({"--include-interfaces", ".."}, "include-interfaces", "..", kInterface),
      Value({"--redirect-dns=yes"}, "redirect-dns", "yes", "expected true or false"),
      Value({"--dry-run="}, "dry-run", "", "expected true or false"),
      Value({"--log_output_level=loud"}, "log_output_level", "loud", kLevel),
      Value({"--log_output_level=default:info,:debug"}, "log_output_level", "default:info,:debug",
            kLevel),
      Value({"--ipv6", "maybe"}, "ipv6", "maybe", "expected auto, on or off"),
      Value({"--ipv6", "off", "--dual-stack"}, "ipv6", "off",
            "expected auto or on, since --dual-stack asks for IPv6"),
      Value({"--wait", "3601"}, "wait", "3601", "expected a duration of at most 1h"),
      Value({"--log-format", "xml"}, "log-format", "xml", "expected text or json"),
      Value({"--probe-timeout", "5x"}, "probe-timeout", "5x", kDuration),
      Value({"--probe-timeout", "25h"}, "probe-timeout", "25h",
            "expected a duration of at most 24h"),
      Value({"--probe-timeout", "1.5ms"}, "probe-timeout", "1.5ms",
            "expected a duration of whole milliseconds, such as 1.5s or 1500ms, at most 24h"),
      Value({"--force-iptables-binary", "ipset"}, "force-iptables-binary", "ipset",
            "expected legacy or nft"),
      Value({"--backend", "ebpf"}, "backend", "ebpf", "expected auto, iptables or nftables"),
      {{"--config", "/nonexistent.json"},
       {},
       "cannot read the configuration file (/nonexistent.json): No such file or directory"},
      {{"--config", "/"}, {}, "cannot read the configuration file (/): it is not a regular file"},
      {{"--network-namespace", "pid:0", "-b", "80"},
       {},
       "cannot open the network namespace (pid:0): pid: takes a number from 1 to 2147483647"},
      Variable("ENVOY_PORT", "nonsense", kPortNumber),
      Variable("ISTIO_META_DNS_CAPTURE", "yes", "expected true or false"),
      Variable("SLUICE_WAIT", "soon",
               "expected a duration such as 500ms, 1.5s, 1m30s or 1h, at most 1h"),
      Variable("INBOUND_INTERCEPTION_MODE", "NONE", "expected REDIRECT or TPROXY"),
  };
}

}  // namespace

const std::vector<BadInput>& BadInputs() {
  static const std::vector<BadInput> inputs = [] {
    std::vector<BadInput> all = Ports();
    for (const auto& more : {RangesAndIds(), Others()}) {
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }();
  return inputs;
}

}  // namespace sluice::testing_support
