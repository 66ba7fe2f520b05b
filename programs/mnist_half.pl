% MNIST-Half: the sum of two digits from 0 to 4, of which training shows 0+0, 0+1, 2+3 and 2+4 alone.
% Two wrong readings answer all of these sums correctly, too: 01323 and 01412 in place of 01234.

nn(digit_net, [X], Y, [0..4]) :: digit(X, Y).

addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.

% Asked beside the sum, the product leaves the right reading alone: --query "addition(X, Y, Sum), product(X, Y, Product)".
product(X, Y, Product) :- digit(X, A), digit(Y, B), Product is A * B.
