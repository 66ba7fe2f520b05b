% MNIST-EvenOdd: the sum of two digits, of which training shows eight pairs alone: even with even and odd with odd.
% 35 wrong readings answer all of these sums correctly, too. One of them only renames digits: d + 5 mod 10 in place of d.

nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).

addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.

% Asked beside the sum, the product leaves the right reading alone: --query "addition(X, Y, Sum), product(X, Y, Product)".
product(X, Y, Product) :- digit(X, A), digit(Y, B), Product is A * B.
