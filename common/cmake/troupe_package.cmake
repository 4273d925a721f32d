# What `cmake --install` puts where, and the Debian packages that cpack makes of it (scripts/package does both). Programs and
# libduckdb.so lie in one folder and find each other by $ORIGIN: the tree runs wherever it is put.
set(package_lib lib/troupe)

# troupe_package_programs(<component> programs...)
function(troupe_package_programs component)
  install(TARGETS ${ARGN} RUNTIME DESTINATION ${package_lib} COMPONENT ${component})
endfunction()

troupe_package_programs(troupe troupe)
troupe_package_programs(troupe-services troupe-ingest troupe-validator troupe-feature-store troupe-registry troupe-deployer
  troupe-ranker troupe-gateway)
troupe_package_programs(troupe-trainer troupe-trainer troupe-trainer-worker troupe-train)
get_filename_component(duckdb ${DUCKDB_LIBRARY} REALPATH)
install(PROGRAMS ${duckdb} DESTINATION ${package_lib} COMPONENT troupe)
install(CODE "file(MAKE_DIRECTORY \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/bin\")
  file(CREATE_LINK ../${package_lib}/troupe \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/bin/troupe\" SYMBOLIC)" COMPONENT troupe)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE ${CMAKE_SOURCE_DIR}/README.md DESTINATION share/doc/troupe COMPONENT troupe)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/services/trainer/configs DESTINATION share/troupe COMPONENT troupe)
set(views ${CMAKE_SOURCE_DIR}/services/feature_store/views)
install(FILES ${views}/serving.toml ${views}/interactions.toml DESTINATION share/troupe/views COMPONENT troupe)
# Only in Debian packages, by absolute names; a tree that is put anywhere has its catalog in compose/ and no units.
install(FILES ${CMAKE_SOURCE_DIR}/compose/catalog.toml DESTINATION /etc/troupe COMPONENT troupe EXCLUDE_FROM_ALL)
install(FILES ${CMAKE_SOURCE_DIR}/scripts/packaging/troupe@.service ${CMAKE_SOURCE_DIR}/scripts/packaging/troupe.target
  DESTINATION /lib/systemd/system COMPONENT troupe EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME troupe)
set(CPACK_PACKAGE_CONTACT "Troupe <troupe@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "From raw events to recommendations, as a fleet of actor services")
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/package)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL troupe troupe-services troupe-trainer)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION misc)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/bin)
set(CPACK_DEBIAN_TROUPE_PACKAGE_NAME troupe)
set(CPACK_DEBIAN_TROUPE_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/scripts/packaging/conffiles ${CMAKE_SOURCE_DIR}/scripts/packaging/postinst
  ${CMAKE_SOURCE_DIR}/scripts/packaging/prerm)
# The matrix products are OpenBLAS's: the reference BLAS, which would do too, is many times slower.
set(same_troupe "troupe (= ${PROJECT_VERSION}), libopenblas0-pthread")
set(CPACK_DEBIAN_TROUPE-SERVICES_PACKAGE_NAME troupe-services)
set(CPACK_DEBIAN_TROUPE-SERVICES_PACKAGE_DEPENDS ${same_troupe})
set(CPACK_DEBIAN_TROUPE-TRAINER_PACKAGE_NAME troupe-trainer)
set(CPACK_DEBIAN_TROUPE-TRAINER_PACKAGE_DEPENDS ${same_troupe})
set(CPACK_COMPONENT_TROUPE_DESCRIPTION "The command line, the catalog of a fleet and its systemd units.")
set(CPACK_COMPONENT_TROUPE-SERVICES_DESCRIPTION "The services of a fleet but the trainer.")
set(CPACK_COMPONENT_TROUPE-TRAINER_DESCRIPTION "The trainer and troupe-train, which stand on libtorch.")
include(CPack)
