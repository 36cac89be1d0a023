import torch
import torch.nn as nn
import torch.nn.functional as F


class AttentiveLSTM(nn.Module):
	"""Weights the states by their similarity with the last one."""
	def __init__(self, vocabulary, width, hidden, classes, vectors=None):
		super(AttentiveLSTM, self).__init__()
		self.hidden = hidden
		self.embed = nn.Embedding(vocabulary, width)
		if vectors is not None:
			self.embed.weight = nn.Parameter(torch.tensor(vectors), requires_grad=False)
		self.lstm = nn.LSTM(width, hidden)
		self.label = nn.Linear(hidden, classes)

	def attend(self, states, last):
		scores = torch.bmm(states, last.squeeze(0).unsqueeze(2)).squeeze(2)
		return torch.bmm(states.transpose(1, 2), F.softmax(scores, 1).unsqueeze(2)).squeeze(2)

	def forward(self, text, batch_size=None):
		x = self.embed(text).permute(1, 0, 2)
		if batch_size is None:
			batch_size = x.size(1)
		h_0 = torch.zeros(1, batch_size, self.hidden)
		c_0 = torch.zeros(1, batch_size, self.hidden)
		states, (last, _) = self.lstm(x, (h_0, c_0))
		return self.label(self.attend(states.permute(1, 0, 2), last))
