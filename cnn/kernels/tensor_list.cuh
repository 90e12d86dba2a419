// The tensors that one launch of an optimizer updates.
#pragma once

// Addresses of float arrays, entry i of each: the i-th tensor with its gradient and its moments. Entries of size 0 are
// not used. Field order and length as in structs.py.
struct TensorList {
  unsigned long long param[64], grad[64], first[64], second[64];
  int size[64];
  float weight_decay[64];
};
