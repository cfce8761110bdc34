// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Decides whether a workload is injected, and with what.
#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <stdexcept>

#include "base/error.h"
#include "base/parse.h"
#include "capture/pod/annotations.h"
#include "capture/settings/option_table.h"
#include "inject/capture_flags.h"
#include "inject/containers.h"
#include "inject/edit/status.h"
#include "inject/mtls.h"
#include "inject/pod_reader.h"
#include "inject/settings.h"

namespace sluice::inject {
namespace {

using capture::kInjectAnnotation;
using capture::kInterceptionModeAnnotation;
using yaml::Node;

constexpr std::string_view kProxyConfig = "proxy.istio.io/config";
constexpr std::string_view kCaptureListening = "capture-listening";
constexpr std::string_view kNativeSidecar = "sidecar.istio.io/nativeSidecar";

// Other meshes that capture traffic, and how to recognize their pods.
struct Mesh {
  std::string_view container;
  std::string_view name;
};
constexpr std::array<Mesh, 10> kMeshes = {{{"istio-proxy", "Istio"},
                                           {"istio-init", "Istio"},
                                           {"istio-validation", "Istio"},
                                           {"linkerd-proxy", "Linkerd"},
                                           {"linkerd-init", "Linkerd"},
                                           {"kuma-sidecar", "Kuma"},
                                           {"kuma-init", "Kuma"},
                                           {"consul-dataplane", "Consul"},
                                           {"envoy-sidecar", "Consul"},
                                           {"osm-init", "Open Service Mesh"}}};

constexpr std::int64_t kProxyUid = 1337;

// The decision about one workload.
class Decider {
 public:
  Decider(const Settings& settings, const Workload& workload, const yaml::Reader& reader)
      : settings_(settings),
        workload_(workload),
        reader_(reader),
        metadata_(Get(workload.pod_node, "metadata")),
        spec_(Get(workload.pod_node, "spec")),
        pod_(reader, spec_),
        annotations_(Get(metadata_, "annotations")) {}

  Decision Make() {
    try {
      if (Skips()) return std::move(decision_);
      CheckIds();
      Read();
      Warn();
      Build();
    } catch (const Refusal& refusal) {
      decision_.kind = Decision::Kind::kRefuse;
      decision_.reason = refusal.what();
      decision_.line = refusal.line();
    } catch (const Error& error) {
      decision_.kind = Decision::Kind::kRefuse;
      decision_.reason = error.what();
      decision_.line = annotations_ == nullptr ? 0 : annotations_->line;
    }
    return std::move(decision_);
  }

 private:
  const Node* Get(const Node* node, std::string_view key) const { return reader_.Get(node, key); }

  std::vector<const Node*> Items(const Node* parent, std::string_view key) const {
    return pod_.Items(parent, key);
  }
  static std::string TextOf(const Node* node) { return PodReader::TextOf(node); }
  static std::optional<std::int64_t> NumberOf(const Node* node) {
    return PodReader::NumberOf(node);
  }

  // The annotation's value. The API server accepts only strings.
  const Node* Annotation(std::string_view name) const {
    const Node* node = Get(annotations_, name);
    if (node == nullptr || yaml::IsNull(*node)) return nullptr;
    if (!yaml::IsString(*node)) {
      throw Refusal(node->line, "the annotation " + std::string(name) +
                                    " is not a string: put quotes around its value " + node->value);
    }
    return node;
  }

  bool Skip(const Node* about, std::string reason) {
    decision_.kind = Decision::Kind::kSkip;
    decision_.reason = std::move(reason);
    decision_.line = about == nullptr ? 0 : about->line;
    return true;
  }

  // The value of the label or annotation of that name; the label takes precedence.
  std::optional<bool> Asked(const Node*& about) const {
    about = Get(Get(metadata_, "labels"), kInjectAnnotation);
    std::string what = "label ";
    if (about == nullptr) {
      about = Get(annotations_, kInjectAnnotation);
      what = "annotation ";
    }
    if (about == nullptr || yaml::IsNull(*about)) return {};
    what += kInjectAnnotation;
    if (!yaml::IsString(*about)) {
      throw Refusal(about->line,
                    "the " + what + " is not a string: put quotes around " + about->value);
    }
    if (about->value == "true") return true;
    if (about->value == "false") return false;
    throw Refusal(about->line,
                  "the " + what + " is \"" + about->value + "\": expected \"true\" or \"false\"");
  }

  bool Skips() {
    const Node* about = nullptr;
    if (Asked(about) == false) return Skip(about, std::string(kInjectAnnotation) + " is \"false\"");
    if (capture::IsSystemNamespace(workload_.name_space)) {
      return Skip(nullptr, "the namespace " + workload_.name_space + " belongs to the cluster");
    }
    const Node* const host = Get(spec_, "hostNetwork");
    if (host != nullptr && yaml::AsBool(*host) == yaml::Truth::kYes) {
      return Skip(host, "hostNetwork: the rules would be the node's");
    }
    for (const char* const list : {"initContainers", "containers"}) {
      for (const Node* const container : Items(spec_, list)) {
        const Node* const node = Get(container, "name");
        const std::string name = TextOf(node);
        const auto mesh = std::ranges::find(kMeshes, name, &Mesh::container);
        if (mesh != kMeshes.end()) {
          return Skip(node, "it has a sidecar of " + std::string(mesh->name) + " (" + name + ")");
        }
        if (name == kInitName || name == kVerifyName || name == kProxyName) {
          return Skip(node, "it has a container " + name + " that was put there by hand");
        }
      }
    }
    if (const Node* mode = Annotation(kInterceptionModeAnnotation);
        mode != nullptr && mode->value == "NONE") {
      return Skip(mode,
                  std::string(kInterceptionModeAnnotation) + " is NONE: nothing is to be captured");
    }
    if (Items(spec_, "containers").empty()) return Skip(spec_, "it has no containers");
    return false;
  }

  // The rules exempt the proxy's uid, and thereby an application with the same uid.
  void CheckIds() const {
    const auto check = [this](const Node* holder, const std::string& whose) {
      const Node* const node = Get(Get(holder, "securityContext"), "runAsUser");
      if (NumberOf(node) == kProxyUid) {
        throw Refusal(node->line, whose +
                                      " runs as uid 1337, which is the proxy's: its traffic "
                                      "would not be captured");
      }
    };
    check(spec_, "the pod");
    for (const char* const list : {"initContainers", "containers"}) {
      for (const Node* const container : Items(spec_, list)) {
        check(container, "the container " + TextOf(Get(container, "name")));
      }
    }
  }

  void ReadProxyConfig() {
    const Node* const node = Annotation(kProxyConfig);
    if (node == nullptr) return;
    const std::string name = "the annotation " + std::string(kProxyConfig);
    try {
      const auto documents = yaml::Parse(node->value, name);
      if (documents.empty()) return;
      const Node& root = documents[0].root;
      const yaml::Reader reader(root);
      if (const Node* hold = reader.Get(&root, "holdApplicationUntilProxyStarts")) {
        hold_ = yaml::AsBool(*hold) == yaml::Truth::kYes;
      }
      if (const Node* concurrency = reader.Get(&root, "concurrency")) {
        if (!NumberOf(concurrency)) {
          throw Refusal(node->line, name + ": concurrency is \"" + concurrency->value +
                                        "\": expected a number");
        }
        // 0 means all CPUs, which is sluice-proxy's default.
        plan_.concurrency = concurrency->value == "0" ? "" : concurrency->value;
      }
      config_mode_ = TextOf(reader.Get(&root, "interceptionMode"));
    } catch (const Error& error) {
      throw Refusal(node->line, error.what());
    }
  }

  void Read() {
    plan_.settings = settings_;
    for (const SettingSpec& spec : SettingSpecs()) {
      if (*spec.annotation == '\0') continue;
      if (const Node* node = Annotation(spec.annotation)) {
        Set(plan_.settings, spec, node->value, "the annotation " + std::string(spec.annotation));
      }
    }
    ReadProxyConfig();
    if (const Node* node = Annotation(kNativeSidecar)) {
      if (node->value != "true" && node->value != "false") {
        throw Refusal(node->line, "the annotation " + std::string(kNativeSidecar) + " is \"" +
                                      node->value + "\": expected true or false");
      }
      plan_.settings.native_sidecar = node->value == "true";
    }
    const capture::Annotations annotations = [this](std::string_view name) -> const std::string* {
      const Node* node = Annotation(name);
      return node == nullptr ? nullptr : &node->value;
    };
    if (const Node* node = Annotation(capture::kStatusPortAnnotation)) {
      try {
        plan_.status_port = capture::StatusPort(annotations);
      } catch (const Error& error) {
        throw Refusal(node->line, error.what());
      }
    }
    if (!plan_.settings.native_sidecar && workload_.runs_to_completion()) {
      throw Refusal(0, "a " + workload_.kind +
                           " would never end beside a proxy that is an ordinary container: it "
                           "needs a native sidecar (Kubernetes 1.29)");
    }
    if (!config_mode_.empty()) {
      plan_.settings.capture["istio-inbound-interception-mode"] = config_mode_;
    }
    flags_ = FlagsOf(plan_.settings, annotations, plan_.status_port);
    ReadProbes(annotations);
    plan_.init_flags = flags_.flags;
    plan_.outbound_port = flags_.outbound_port;
    plan_.inbound_port = flags_.inbound_port;
    plan_.tproxy = flags_.config.mode == capture::InterceptionMode::kTproxy;
    plan_.redirect_dns = flags_.config.redirect_dns;
    plan_.nftables = flags_.nftables;
    // Kubernetes' default is 30 s. Leave some time to end.
    const auto grace = NumberOf(Get(spec_, "terminationGracePeriodSeconds")).value_or(30);
    plan_.drain_seconds = static_cast<unsigned>(std::clamp<std::int64_t>(grace - 5, 0, 45));
    ReadMtls();
  }

  // A tcpSocket probe asks whether somebody listens, which the proxy always does: with them, only
  // ports are captured on which the application listens.
  void ReadProbes(const capture::Annotations& annotations) {
    for (const Check& check : pod_.Checks()) {
      if (check.action == "tcpSocket" && check.what.ends_with("Probe") && check.number &&
          IsCaptured(flags_.config, *check.number)) {
        tcp_probes_.push_back(check);
      }
    }
    if (tcp_probes_.empty() || flags_.config.capture_listening) return;
    const capture::OptionSpec& option = *capture::FindOption(kCaptureListening);
    if (plan_.settings.capture.contains(kCaptureListening) ||
        annotations(option.annotations[0]) != nullptr) {
      tcp_probes_because_ = std::string(kCaptureListening) + " is false";
    } else if (flags_.config.mode == capture::InterceptionMode::kTproxy) {
      tcp_probes_because_ = "in TPROXY mode there is no way to refuse a connection";
    } else if (std::ranges::any_of(plan_.settings.proxy_args, [](const std::string& each) {
                 return each.starts_with("--inbound-upstream");
               })) {
      // The application may listen on that address only, and not on the one that is probed.
      tcp_probes_because_ = "--inbound-upstream connects to another address than the probe's";
    } else {
      plan_.settings.capture[std::string(kCaptureListening)] = "true";
      flags_ = FlagsOf(plan_.settings, annotations, plan_.status_port);
    }
  }

  void ReadMtls() {
    try {
      plan_.mtls = PlanMtls(plan_.settings.mtls, flags_.config, pod_, annotations_);
    } catch (const std::invalid_argument& error) {
      throw Refusal(0, error.what());
    }
    // They come before sluice-init then.
    if (!plan_.settings.native_sidecar && !plan_.settings.mtls.outbound.empty() &&
        !Items(spec_, "initContainers").empty()) {
      plan_.mtls.warnings.push_back(
          "mutual TLS: the pod's init containers run before the capture begins: what they connect "
          "to gets plaintext, which a strict peer resets; a native sidecar starts before them");
    }
  }

  void Warn() {
    for (const Check& check : tcp_probes_) {
      if (flags_.config.capture_listening) break;
      decision_.warnings.push_back(
          check.what + " of the container " + check.container + " is a tcpSocket probe of port " +
          std::to_string(*check.number) +
          ", which always succeeds when it is captured: the proxy accepts, and " +
          tcp_probes_because_ +
          ". Use httpGet or exec, or put the port into "
          "traffic.sidecar.istio.io/excludeInboundPorts");
    }
    if (annotations_ != nullptr && annotations_->IsMapping()) {
      for (const yaml::Member& member : annotations_->members) {
        if (member.key.value.starts_with("traffic.sidecar.istio.io/") &&
            !capture::IsTrafficAnnotation(member.key.value)) {
          decision_.warnings.push_back("the annotation " + member.key.value +
                                       " is none that anything is known of");
        }
      }
    }
    std::ranges::copy(plan_.mtls.warnings, std::back_inserter(decision_.warnings));
    if (plan_.settings.native_sidecar) return;
    const std::string policy = TextOf(Get(spec_, "restartPolicy"));
    if (policy == "Never" || policy == "OnFailure") {
      decision_.warnings.push_back("the pod (restartPolicy: " + policy +
                                   ") does not end by itself: the proxy, an ordinary container, "
                                   "does not");
    }
    if (hold_) {
      decision_.warnings.push_back(
          "holdApplicationUntilProxyStarts puts the proxy before the application's containers; "
          "only a native sidecar makes them wait until it is ready");
    }
  }

  void Build() {
    Additions& out = decision_.additions;
    out.annotations = flags_.annotations;
    out.labels.emplace_back("sluice.dev/injected", "true");
    out.volumes = plan_.mtls.volumes;
    const boost::json::object proxy = ProxyContainer(plan_);
    if (plan_.settings.native_sidecar) {
      out.init_first = {InitContainer(plan_), proxy};
      return;
    }
    // After the application's init containers, which need the network without capture.
    out.init_last = {InitContainer(plan_)};
    (hold_ ? out.containers_first : out.containers_last) = {proxy};
  }

  const Settings& settings_;
  const Workload& workload_;
  const yaml::Reader& reader_;
  const Node* metadata_;
  const Node* spec_;
  const PodReader pod_;
  const Node* annotations_;
  bool hold_ = false;
  std::string config_mode_;
  std::vector<Check> tcp_probes_;   // of captured ports
  std::string tcp_probes_because_;  // why they are not answered as they should be
  ContainerPlan plan_;
  CaptureFlags flags_;
  Decision decision_;
};

}  // namespace

Decide DecideBy(const Settings& settings) {
  return [settings](const Workload& workload, const yaml::Reader& reader) {
    return Decider(settings, workload, reader).Make();
  };
}

}  // namespace sluice::inject
