# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# `cmake --install` and `cpack -G DEB`. Two components: `runtime` is the Debian package, `dev` has
# the static libraries and their headers. Programs and libraries are installed where they are
# declared.
install(FILES docs/sluice-init.8 docs/sluice-proxy.8 docs/sluice-inject.8 docs/sluice-cni.8 docs/istio-iptables.8
        docs/istio-clean-iptables.8
        DESTINATION ${CMAKE_INSTALL_MANDIR}/man8 COMPONENT runtime)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime
        FILES_MATCHING PATTERN *.md PATTERN *.schema.json)
install(FILES deploy/debian/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
# Completion scripts for shells; each program prints its own.
set(sluice_completions)
foreach(program sluice-init sluice-proxy sluice-inject sluice-cni)
  foreach(shell bash zsh fish)
    set(file ${PROJECT_BINARY_DIR}/completions/${program}.${shell})
    add_custom_command(OUTPUT ${file} COMMAND ${program} completion ${shell} > ${file}
                       DEPENDS ${program} VERBATIM)
    list(APPEND sluice_completions ${file})
  endforeach()
  set(at ${PROJECT_BINARY_DIR}/completions/${program})
  install(FILES ${at}.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
          RENAME ${program} COMPONENT runtime)
  install(FILES ${at}.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions
          RENAME _${program} COMPONENT runtime)
  install(FILES ${at}.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d
          RENAME ${program}.fish COMPONENT runtime)
endforeach()
# Shells find these by the command's name.
install(FILES ${PROJECT_BINARY_DIR}/completions/sluice-init.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME istio-iptables
        COMPONENT runtime)
install(FILES ${PROJECT_BINARY_DIR}/completions/sluice-init.fish
        DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d RENAME istio-iptables.fish
        COMPONENT runtime)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/completions)
add_custom_target(completions ALL DEPENDS ${sluice_completions})
install(DIRECTORY deploy/kubernetes deploy/grafana deploy/prometheus DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT runtime)
# systemd's directory, whatever the machine's library directory is.
file(GLOB sluice_units CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/deploy/systemd/*.service)
install(FILES ${sluice_units} DESTINATION lib/systemd/system COMPONENT runtime)
# Files that an administrator edits are kept on upgrades: see conffiles.
install(FILES deploy/default/sluice-init deploy/default/sluice-proxy
        DESTINATION /etc/default COMPONENT runtime)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_CONTACT "The Sluice authors <sluice@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
# `cpack -D "CPACK_COMPONENTS_ALL=runtime;dev"` makes sluice-dev as well.
set(CPACK_COMPONENTS_ALL runtime)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME sluice)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION
"sluice-init redirects the traffic of a pod, or of any network namespace, to a
proxy; it takes the command line of istio-iptables. sluice-proxy is a small
transparent TCP proxy that relays what arrives to where it was going.
sluice-inject puts both into Kubernetes manifests, and takes them out again.
sluice-cni captures pods as a chained CNI plugin.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME sluice-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/deploy/debian/conffiles)
include(CPack)
