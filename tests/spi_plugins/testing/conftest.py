import torch

# Tiny networks on many threads wait for one another most of the time.
torch.set_num_threads(1)
