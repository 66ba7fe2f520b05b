% The sum of two digits, of which some are told wrong: with a probability that is learned, any number from 0 to 18 is told
% in place of the sum. After the example of DeepProbLog (Manhaeve et al., NeurIPS 2018).

nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).

t(_) :: noisy.

addition(X, Y, Sum) :- noisy, told(Sum).
addition(X, Y, Sum) :- \+ noisy, digit(X, A), digit(Y, B), Sum is A + B.

1/19 :: told(0); 1/19 :: told(1); 1/19 :: told(2); 1/19 :: told(3); 1/19 :: told(4);
1/19 :: told(5); 1/19 :: told(6); 1/19 :: told(7); 1/19 :: told(8); 1/19 :: told(9);
1/19 :: told(10); 1/19 :: told(11); 1/19 :: told(12); 1/19 :: told(13); 1/19 :: told(14);
1/19 :: told(15); 1/19 :: told(16); 1/19 :: told(17); 1/19 :: told(18).
