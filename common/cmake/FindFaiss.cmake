# Faiss, as Debian ships it: a static library that stands on LAPACK and OpenMP. Defines Faiss::Faiss.
find_path(FAISS_INCLUDE_DIR faiss/Index.h)
find_library(FAISS_LIBRARY faiss)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(LAPACK REQUIRED)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Faiss REQUIRED_VARS FAISS_LIBRARY FAISS_INCLUDE_DIR)
if(Faiss_FOUND AND NOT TARGET Faiss::Faiss)
  add_library(Faiss::Faiss UNKNOWN IMPORTED)
  set_target_properties(Faiss::Faiss PROPERTIES IMPORTED_LOCATION ${FAISS_LIBRARY}
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${FAISS_INCLUDE_DIR}
    INTERFACE_LINK_LIBRARIES "${OpenMP_CXX_LIBRARIES};${LAPACK_LIBRARIES};${BLAS_LIBRARIES}")
endif()
