// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-inject/certificate.h"

#include <string_view>

#include "base/base64.h"
#include "cmd/sluice-inject/files.h"
#include "tls/certificate.h"

namespace sluice::inject {
namespace {

// The same as deploy/kubernetes/webhook/cert-manager/webhook-configuration.yaml, except for the CA.
// First the pods of labelled namespaces, then pods that request it in other namespaces.
constexpr std::string_view kConfiguration = R"(apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  name: @SERVICE@
  labels:
    app.kubernetes.io/name: sluice-webhook
webhooks:
  - name: namespace.sluice.dev
    clientConfig:
      service:
        namespace: @NAMESPACE@
        name: @SERVICE@
        path: /inject
        port: 443
      caBundle: @CA@
    rules:
      - operations: [CREATE]
        apiGroups: [""]
        apiVersions: [v1]
        resources: [pods]
        scope: Namespaced
    namespaceSelector:
      matchExpressions:
        - key: istio-injection
          operator: In
          values: [enabled]
        - key: kubernetes.io/metadata.name
          operator: NotIn
          values: [kube-system, kube-public, kube-node-lease, @NAMESPACE@]
    objectSelector:
      matchExpressions:
        - key: sidecar.istio.io/inject
          operator: NotIn
          values: ["false"]
    failurePolicy: @POLICY@
    matchPolicy: Equivalent
    reinvocationPolicy: IfNeeded
    sideEffects: None
    timeoutSeconds: 5
    admissionReviewVersions: [v1]
  - name: object.sluice.dev
    clientConfig:
      service:
        namespace: @NAMESPACE@
        name: @SERVICE@
        path: /inject
        port: 443
      caBundle: @CA@
    rules:
      - operations: [CREATE]
        apiGroups: [""]
        apiVersions: [v1]
        resources: [pods]
        scope: Namespaced
    namespaceSelector:
      matchExpressions:
        - key: istio-injection
          operator: DoesNotExist
        - key: kubernetes.io/metadata.name
          operator: NotIn
          values: [kube-system, kube-public, kube-node-lease, @NAMESPACE@]
    objectSelector:
      matchExpressions:
        - key: sidecar.istio.io/inject
          operator: In
          values: ["true"]
    failurePolicy: @POLICY@
    matchPolicy: Equivalent
    reinvocationPolicy: IfNeeded
    sideEffects: None
    timeoutSeconds: 5
    admissionReviewVersions: [v1]
)";

// ca.crt has only the new CA: the one that the next rotation trusts as well.
constexpr std::string_view kSecret = R"(---
apiVersion: v1
kind: Secret
metadata:
  name: @SERVICE@-tls
  namespace: @NAMESPACE@
  labels:
    app.kubernetes.io/name: sluice-webhook
type: kubernetes.io/tls
data:
  ca.crt: @NEW@
  tls.crt: @CERTIFICATE@
  tls.key: @KEY@
)";

void Replace(std::string& text, std::string_view mark, const std::string& value) {
  for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at)) {
    text.replace(at, mark.size(), value);
    at += value.size();
  }
}

}  // namespace

std::string CertificateManifests(const CertificateOptions& options) {
  std::string others;
  for (const std::string& path : options.trust) {
    for (const std::string& each : tls::CertificatesOf(ReadText(path), path)) others += each;
  }
  const std::string host = options.service + "." + options.name_space + ".svc";
  // Each rotation's CA has its own name, so that a client finds the right one at once.
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  const tls::KeyPair authority =
      tls::MakeAuthority("sluice-webhook CA " + std::to_string(seconds), options.validity);
  const tls::KeyPair server =
      tls::MakeServer(authority, {host, host + ".cluster.local"}, options.validity);
  std::string out = std::string(kConfiguration) + std::string(kSecret);
  Replace(out, "@SERVICE@", options.service);
  Replace(out, "@NAMESPACE@", options.name_space);
  Replace(out, "@POLICY@", options.failure_policy);
  Replace(out, "@CA@", Base64(authority.certificate + others));
  Replace(out, "@NEW@", Base64(authority.certificate));
  Replace(out, "@CERTIFICATE@", Base64(server.certificate));
  Replace(out, "@KEY@", Base64(server.key));
  return out;
}

}  // namespace sluice::inject
