/* kiln_dlpack.h - DLPack tensors as kiln tensors, for programs that have DLPack's header. Header only.
 *
 *   #include <dlpack/dlpack.h>
 *   #include <kiln_dlpack.h>
 *
 *   kiln_tensor x;
 *   if (kiln_from_dlpack(&x, &managed->dl_tensor) == KILN_OK) ...
 *
 * Include DLPack's own header first; any version from 0.6 on will do. */
#ifndef KILN_DLPACK_H
#define KILN_DLPACK_H
#include "kiln.h"

#ifndef DLPACK_DLPACK_H_
#error "include <dlpack/dlpack.h> before kiln_dlpack.h"
#endif

/* The dtype of a DLPack type; KILN_NO_DTYPE if kiln has none such. Codes are numbers here because older headers lack the later
 * names. */
static inline kiln_dtype kiln_dtype_from_dlpack(DLDataType t) {
  if (t.lanes != 1) return KILN_NO_DTYPE;
  switch (t.code * 256 + t.bits) {
  case 0 * 256 + 8: return KILN_I8; /* kDLInt */
  case 0 * 256 + 16: return KILN_I16;
  case 0 * 256 + 32: return KILN_I32;
  case 0 * 256 + 64: return KILN_I64;
  case 1 * 256 + 8: return KILN_U8; /* kDLUInt */
  case 2 * 256 + 16: return KILN_F16; /* kDLFloat */
  case 2 * 256 + 32: return KILN_F32;
  case 2 * 256 + 64: return KILN_F64;
  case 4 * 256 + 16: return KILN_BF16; /* kDLBfloat */
  case 6 * 256 + 8: return KILN_BOOL; /* kDLBool */
  case 10 * 256 + 8: return KILN_E4M3; /* kDLFloat8_e4m3fn */
  case 12 * 256 + 8: return KILN_E5M2; /* kDLFloat8_e5m2 */
  default: return KILN_NO_DTYPE;
  }
}

/* A view of t in *out: shape and strides (in elements in both) are borrowed, so t must outlive it; nothing is copied and
 * nothing is owned.
 * The data pointer includes t->byte_offset.
 * Errors, without a message: BAD_CALL (NULL), BAD_DTYPE (no such dtype here, or vector lanes), BAD_POINTER (not memory of a
 * CUDA device: kDLCUDA, kDLCUDAHost and kDLCUDAManaged are taken). That it is the plan's device is
 * checked by kiln_plan_create. */
static inline kiln_status kiln_from_dlpack(kiln_tensor *out, const DLTensor *t) {
  if (!out || !t) return KILN_BAD_CALL;
  kiln_dtype dtype = kiln_dtype_from_dlpack(t->dtype);
  int kind = (int)t->device.device_type;
  if (dtype == KILN_NO_DTYPE) return KILN_BAD_DTYPE;
  if (kind != 2 && kind != 3 && kind != 13) return KILN_BAD_POINTER; /* kDLCUDA, kDLCUDAHost, kDLCUDAManaged */
  out->data = t->data ? (char *)t->data + t->byte_offset : NULL;
  out->dtype = dtype;
  out->rank = t->ndim;
  out->shape = t->shape;
  out->strides = t->strides; /* NULL means dense row-major in both */
  return KILN_OK;
}
#endif
