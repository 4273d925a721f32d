# DuckDB as scripts/setup unpacks it. Defines DuckDB::duckdb.
set(TROUPE_DUCKDB_ROOT ${CMAKE_SOURCE_DIR}/build/deps/duckdb CACHE PATH "Folder with duckdb.h and libduckdb.so")
find_path(DUCKDB_INCLUDE_DIR duckdb.h HINTS ${TROUPE_DUCKDB_ROOT} PATH_SUFFIXES include)
find_library(DUCKDB_LIBRARY duckdb HINTS ${TROUPE_DUCKDB_ROOT} PATH_SUFFIXES lib)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(DuckDB REQUIRED_VARS DUCKDB_LIBRARY DUCKDB_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "run scripts/setup first: it installs the pinned DuckDB under build/deps")
if(DuckDB_FOUND AND NOT TARGET DuckDB::duckdb)
  add_library(DuckDB::duckdb SHARED IMPORTED)
  set_target_properties(DuckDB::duckdb PROPERTIES IMPORTED_LOCATION ${DUCKDB_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${DUCKDB_INCLUDE_DIR})
endif()
