% Which urn, and what is in it? An image says by its colour which of two urns a ball is drawn from; it is looked at and put
% back, and a second one is drawn. What is in the green urn is known. What is in the red one is learned, together with
% the network that tells the urns apart.
% One ball alone would not do: a network that takes some red images for green ones could make up for it by other contents.

nn(urn_net, [X], U, [red, green]) :: urn(X, U).

t(_) :: ball(red, Draw, gold); t(_) :: ball(red, Draw, silver); t(_) :: ball(red, Draw, lead).
0.5 :: ball(green, Draw, gold); 0.3 :: ball(green, Draw, silver); 0.2 :: ball(green, Draw, lead).

draws(X, First, Second) :- urn(X, U), ball(U, 1, First), ball(U, 2, Second).
