import torch
import torch.nn as nn


class NeuMF(nn.Module):
	def __init__(self, users, items, factors, layers, dropout, model="NeuMF"):
		super(NeuMF, self).__init__()
		"""
		model: 'MLP', 'GMF' or 'NeuMF'
		"""
		self.model = model
		wide = factors * 2 ** (layers - 1)
		self.user_gmf, self.item_gmf = nn.Embedding(users, factors), nn.Embedding(items, factors)
		self.user_mlp, self.item_mlp = nn.Embedding(users, wide), nn.Embedding(items, wide)
		modules = []
		for i in range(layers):
			size = factors * 2 ** (layers - i)
			modules += [nn.Dropout(p=dropout), nn.Linear(size, size // 2), nn.ReLU()]
		self.mlp = nn.Sequential(*modules)
		self.predict = nn.Linear(factors if model in ['MLP', 'GMF'] else 2 * factors, 1)
		self._reset()

	def _reset(self):
		for embedding in (self.user_gmf, self.item_gmf, self.user_mlp, self.item_mlp):
			nn.init.normal_(embedding.weight, std=0.01)
		for m in self.mlp:
			if isinstance(m, nn.Linear):
				nn.init.xavier_uniform_(m.weight)
		nn.init.kaiming_uniform_(self.predict.weight, a=1, nonlinearity='sigmoid')

	def forward(self, user, item):
		parts = []
		if not self.model == 'MLP':
			parts.append(self.user_gmf(user) * self.item_gmf(item))
		if not self.model == 'GMF':
			parts.append(self.mlp(torch.cat((self.user_mlp(user), self.item_mlp(item)), -1)))
		return self.predict(torch.cat(parts, -1)).view(-1)
