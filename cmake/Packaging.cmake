# What is installed where, and the Debian package that CPack makes of it: scripts/package.sh.
set(share usr/share/atoll)
set(doc usr/share/doc/atoll)
install(TARGETS atoll RUNTIME DESTINATION usr/bin)
install(TARGETS atoll-agent RUNTIME DESTINATION usr/lib/atoll)
install(FILES packaging/atoll.service packaging/atoll-sandboxes.service
        DESTINATION usr/lib/systemd/system)
install(FILES packaging/atoll.sysctl.conf DESTINATION usr/lib/sysctl.d RENAME 60-atoll.conf)
# It may come to hold keys.
install(FILES atoll.example.toml DESTINATION etc/atoll RENAME atoll.toml
        PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ)
install(FILES packaging/needrestart.conf DESTINATION etc/needrestart/conf.d RENAME atoll.conf)
install(FILES README.md LICENSE DESTINATION ${doc})
install(FILES packaging/debian/copyright DESTINATION ${doc})
install(DIRECTORY docs DESTINATION ${doc} FILES_MATCHING PATTERN "*.md")
# Recipes find what they need relative to themselves, as in a source tree.
install(DIRECTORY images DESTINATION ${share} USE_SOURCE_PERMISSIONS
        PATTERN node_modules EXCLUDE)
install(PROGRAMS scripts/build_criu.sh scripts/cache_ui.py scripts/debian_sources.py scripts/fetch_opencode.sh
        scripts/raise_limits.sh DESTINATION ${share}/scripts)
file(GLOB criu_patches CONFIGURE_DEPENDS scripts/criu_*.patch)
install(FILES ${criu_patches} DESTINATION ${share}/scripts)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME atoll)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_VENDOR "The Atoll authors")
set(CPACK_PACKAGE_CONTACT "The Atoll authors <atoll@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "a Linux sandbox on its own subdomain for each coding agent")
set(CPACK_PACKAGE_DESCRIPTION
    "One daemon that gives every coding agent a sandbox of its own, made of namespaces by crun, with\nOpenCode inside, snapshots in a restic repository, and no Docker, KVM or cloud account.")
# Paths are below the root: what is in /etc is not below /usr.
set(CPACK_PACKAGING_INSTALL_PREFIX /)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ
    GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/package)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# crun: what a sandbox is made by; 1.8 is what is tested. The seccomp profile is one of
# golang-github-containers-common's files.
set(CPACK_DEBIAN_PACKAGE_DEPENDS
    "crun (>= 1.8), nftables (>= 1.0), iproute2, procps, util-linux, e2fsprogs, golang-github-containers-common, ca-certificates")
# For `atoll setup`: images are made and OpenCode is fetched on the host. s3fs: for buckets.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "mmdebstrap, nodejs (>= 18), npm, python3, git, s3fs")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "restic")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(debian ${CMAKE_SOURCE_DIR}/packaging/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian}/conffiles ${debian}/preinst ${debian}/postinst
    ${debian}/prerm ${debian}/postrm)
include(CPack)
