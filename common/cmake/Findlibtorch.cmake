# libtorch, 1.13 of Debian or 2.x (name its folder in TROUPE_LIBTORCH_ROOT), for the few targets that use it.
# Defines Troupe::libtorch. Torch's own CMake files are not read: Debian's want a gflags target that Debian's gflags
# does not have, and they change flags of the whole build.
set(TROUPE_LIBTORCH_ROOT "" CACHE PATH "Folder of a libtorch other than the system's")
find_path(LIBTORCH_INCLUDE_DIR torch/csrc/api/include/torch/torch.h HINTS ${TROUPE_LIBTORCH_ROOT} PATH_SUFFIXES include)
foreach(part torch torch_cpu c10)
  find_library(LIBTORCH_${part}_LIBRARY ${part} HINTS ${TROUPE_LIBTORCH_ROOT} PATH_SUFFIXES lib)
endforeach()
foreach(part torch_cuda c10_cuda)
  find_library(LIBTORCH_${part}_LIBRARY ${part} HINTS ${TROUPE_LIBTORCH_ROOT} PATH_SUFFIXES lib)
endforeach()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(libtorch
  REQUIRED_VARS LIBTORCH_torch_LIBRARY LIBTORCH_torch_cpu_LIBRARY LIBTORCH_c10_LIBRARY LIBTORCH_INCLUDE_DIR)
if(libtorch_FOUND AND NOT TARGET Troupe::libtorch)
  add_library(troupe_libtorch INTERFACE)
  add_library(Troupe::libtorch ALIAS troupe_libtorch)
  target_include_directories(troupe_libtorch SYSTEM INTERFACE
    ${LIBTORCH_INCLUDE_DIR} ${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include)
  target_link_libraries(troupe_libtorch INTERFACE ${LIBTORCH_torch_LIBRARY} ${LIBTORCH_torch_cpu_LIBRARY} ${LIBTORCH_c10_LIBRARY})
  if(LIBTORCH_torch_cuda_LIBRARY AND LIBTORCH_c10_cuda_LIBRARY)
    # It registers itself when it is loaded; no symbol of ours asks for it.
    find_path(TROUPE_NCCL nccl.h HINTS ${TROUPE_LIBTORCH_ROOT} /usr/local/cuda PATH_SUFFIXES include)
    find_path(TROUPE_CUDA_INCLUDE cuda_runtime_api.h HINTS /usr/local/cuda PATH_SUFFIXES include)
    if(TROUPE_NCCL AND TROUPE_CUDA_INCLUDE) # What c10d's header of NCCL includes.
      target_include_directories(troupe_libtorch SYSTEM INTERFACE ${TROUPE_NCCL} ${TROUPE_CUDA_INCLUDE})
    endif()
    target_link_libraries(troupe_libtorch INTERFACE -Wl,--no-as-needed ${LIBTORCH_torch_cuda_LIBRARY} -Wl,--as-needed
      ${LIBTORCH_c10_cuda_LIBRARY})
  endif()
endif()
